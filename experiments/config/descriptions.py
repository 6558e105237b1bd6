"""What each preset is, in one sentence, with its paper and its generative model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Description:
    """What a preset is, for the terminal and the documentation."""

    text: str
    """One sentence."""
    paper: str
    """The paper that it follows, with the section where that tells it apart."""
    model: str = ""
    """The generative model, if there is one."""

    @property
    def authors(self) -> str:
        """The authors and the year of the paper, or of the first one."""
        return self.paper.partition(", ")[0].partition("; ")[0]


MFEC_PAPER = "Blundell et al. 2016, Model-Free Episodic Control"
DQN_PAPER = "Mnih et al. 2015, Human-level control through deep RL; van Hasselt et al. 2016"
DESCRIPTIONS: dict[str, Description] = {
    "mfec": Description(
        "Episodic control that remembers returns by a random projection of one frame.",
        f"{MFEC_PAPER}, section 4.1",
        "projection",
    ),
    "mfec-vae": Description(
        "Episodic control whose keys are codes of a VAE, fitted to the first, random steps.",
        f"{MFEC_PAPER}, section 3.1",
        "VAE",
    ),
    "mfec-beta-vae": Description(
        "Episodic control with the codes of a beta-VAE, whose KL term weighs four times as much.",
        "Higgins et al. 2017, beta-VAE",
        "beta-VAE",
    ),
    "mfec-binary-vae": Description(
        "Episodic control with the binary codes of a VAE with Bernoulli latents.",
        "Mnih & Rezende 2016, Variational Inference for Monte Carlo Objectives",
        "binary VAE",
    ),
    "mfec-vae-published": Description(
        "Episodic control with a VAE fitted as published: a million frames (7 GB of memory).",
        f"{MFEC_PAPER}, section 3.1",
        "VAE",
    ),
    "nec": Description(
        "Episodic control whose keys and values are learned by gradients of Q.",
        "Pritzel et al. 2017, Neural Episodic Control",
        "network of keys",
    ),
    "nait": Description(
        "Episodic control by visits with fixed features, exploring what is distant; 100,000 steps.",
        "Long et al. 2022, Fast and Data Efficient Reinforcement Learning from Pixels via "
        "Non-Parametric Value Approximation",
        "discrete cosine transform",
    ),
    "dqn": Description(
        "Double DQN with mixed Monte-Carlo returns: the baseline of the bonuses.",
        DQN_PAPER,
    ),
    "dqn-cts": Description(
        "DQN with a bonus for rare frames: pseudo-counts of a CTS density.",
        "Bellemare et al. 2016, Unifying Count-Based Exploration and Intrinsic Motivation",
        "CTS density",
    ),
    "dqn-pixelcnn": Description(
        "DQN with a bonus for rare frames: pseudo-counts of a PixelCNN's prediction gain.",
        "Ostrovski et al. 2017, Count-Based Exploration with Neural Density Models",
        "PixelCNN",
    ),
    "dqn-simhash": Description(
        "DQN with a bonus for rare frames, which are counted by a hash of their pixels.",
        "Tang et al. 2017, #Exploration",
        "hash counts",
    ),
    "dqn-surprise": Description(
        "DQN with a bonus for frames that a density finds improbable.",
        "Bellemare et al. 2016, whose density is used; the bonus is this project's",
        "CTS density",
    ),
    "ppo": Description(
        "PPO with CleanRL's Atari settings: the baseline of the planners.",
        "Schulman et al. 2017, Proximal Policy Optimization; Huang et al. 2022",
    ),
    "a2c": Description(
        "A2C with Adam: one update per segment of five timesteps.",
        "Mnih et al. 2016, Asynchronous Methods for Deep Reinforcement Learning",
    ),
    "ppo-rnd": Description(
        "PPO with a bonus for frames that a network cannot predict, and a value of its own for it.",
        "Burda et al. 2018, Exploration by Random Network Distillation; Huang et al. 2022",
        "RND",
    ),
    "pqn": Description(
        "Parallel Q-learning without a replay buffer or a target network, for many envs.",
        "Gallici et al. 2024, Simplifying Deep Temporal Difference Learning",
    ),
    "pqn-cts": Description(
        "PQN with a bonus for rare frames: pseudo-counts of a CTS density.",
        "Gallici et al. 2024; Bellemare et al. 2016, Unifying Count-Based Exploration and "
        "Intrinsic Motivation",
        "CTS density",
    ),
    "figar": Description(
        "PPO that chooses an action together with the number of its repetitions.",
        "Sharma et al. 2017, Learning to Repeat",
        "FiGAR planner",
    ),
    "straw": Description(
        "PPO that writes a plan of actions, follows it, and decides when to revise it.",
        "Vezhnevets et al. 2016, Strategic Attentive Writer",
        "STRAW planner",
    ),
    "strawe": Description(
        "STRAW with a noisy code between the features and the plan.",
        "Vezhnevets et al. 2016, Strategic Attentive Writer, section 2.3",
        "STRAWe planner",
    ),
    "variational-mdp": Description(
        "STRAWe with a learned prior, whose KL divergence and entropy are part of the return.",
        "Mohamed 2016, Building Machines that Imagine and Reason",
        "STRAWe planner",
    ),
    "dqn-minatar": Description(
        "DQN in MinAtar, five games on a grid of 10 x 10 cells, for a million steps.",
        "Obando-Ceron & Castro 2021, Revisiting Rainbow; Young & Tian 2019, MinAtar",
    ),
    "ppo-minatar": Description(
        "PPO in MinAtar with 64 envs, for ten million steps.",
        "Lange 2022, gymnax; Young & Tian 2019, MinAtar",
    ),
    "dqn-short": Description(
        "DQN for 100,000 steps, with a schedule and a replay buffer to match.",
        "Kaiser et al. 2020, Model-Based Reinforcement Learning for Atari (the protocol)",
    ),
    "drq": Description(
        "DQN for 100,000 steps with an update at each, n-step targets and randomly shifted images.",
        "Kostrikov et al. 2020, Image Augmentation Is All You Need; Agarwal et al. 2021 (epsilon)",
    ),
    "dyna": Description(
        "DQN that learns in the dreams of a predictor, between its real steps.",
        "Sutton 1990, Integrated Architectures for Learning, Planning, and Reacting",
        "frame predictor",
    ),
    "dyna-rssm": Description(
        "PPO that learns in the latent dreams of a recurrent state-space model, without frames.",
        "Hafner et al. 2023, Mastering Diverse Domains through World Models; Hafner et al. 2020",
        "RSSM",
    ),
    "mpc": Description(
        "Planning at every step by random shooting in a learned predictor.",
        "Nagabandi et al. 2018, section IV-B; Chua et al. 2018, section 5",
        "frame predictor",
    ),
    "go-explore": Description(
        "Exploration from an archive of cells, each returned to by a snapshot of the emulator.",
        "Ecoffet et al. 2021, First return, then explore (the exploration phase, without chance)",
    ),
    "dqn-informed": Description(
        "DQN that explores towards the frames that its predictor finds most novel.",
        "Oh et al. 2015, Action-Conditional Video Prediction, section 4.2",
        "frame predictor",
    ),
}
"""What each preset is."""
