// Panels of the session as cards: each kind builds a card's content and returns its update.

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A color of the style sheet. */
export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Show these panels, reusing the existing cards of the same layout. */
export function showPanels(container, panels, setSlider) {
  const cards = [...container.children];
  panels.forEach((panel, index) => {
    let card = cards[index];
    if (!card || card.dataset.layout !== layout(panel)) {
      const newCard = element("article", { class: "card" });
      newCard.dataset.layout = layout(panel);
      if (panel.kind !== "Slider") newCard.append(element("h2"));
      newCard.update = BUILDERS[panel.kind](newCard, panel, setSlider);
      newCard.append(element("p"));
      card ? card.replaceWith(newCard) : container.append(newCard);
      card = newCard;
    }
    const title = card.querySelector("h2"), note = card.querySelector(":scope > p");
    if (title && title.textContent !== panel.title) title.textContent = panel.title;
    if (note.textContent !== (panel.note || "")) note.textContent = panel.note || "";
    note.hidden = !panel.note;
    card.update(panel);
  });
  cards.slice(panels.length).forEach((card) => card.remove());
}

/** The properties of a panel that require a new card when they change. */
function layout(panel) {
  const parts = panel.pictures || panel.labels || panel.rows || Object.keys(panel.series || {});
  return `${panel.kind} ${parts.length} ${panel.name || ""}`;
}

/** Show pictures as figures with captions. */
export function updateFigures(container, pictures) {
  if (container.children.length !== pictures.length) {
    const figure = () => element("figure", {}, element("canvas"), element("figcaption"));
    container.replaceChildren(...pictures.map(figure));
  }
  pictures.forEach((picture, index) => {
    const [canvas, caption] = container.children[index].children;
    const [width, height] = picture.image.size;
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
      // The pixels of an Atari screen are wider than high.
      canvas.style.aspectRatio = width === 160 && height === 210 ? "4 / 3" : `${width} / ${height}`;
    }
    canvas.getContext("2d").drawImage(picture.bitmap, 0, 0);
    if (caption.textContent !== picture.caption) caption.textContent = picture.caption;
    canvas.setAttribute("aria-label", picture.caption);
  });
}

const format = (x) => (x === null ? "untried" : Math.abs(x) >= 1000 || Number.isInteger(x)
  ? Math.round(x).toLocaleString("en") : x.toPrecision(3));

const BUILDERS = {
  Images(card, panel) {
    const pair = panel.pictures.length === 2 ? " pair" : "";
    const grid = element("div", { class: `images${pair}` });
    card.append(grid);
    return ({ pictures }) => updateFigures(grid, pictures);
  },

  BarChart(card, panel) {
    const grid = element("div", { class: "bar-chart" });
    const rows = panel.labels.map(() => {
      const row = [element("span"), element("span", { class: "track" }, element("i")), element("span")];
      grid.append(...row);
      return row;
    });
    card.append(grid);
    return ({ labels, values, highlighted }) => {
      const finite = values.filter((x) => x !== null);
      const low = Math.min(0, ...finite), span = Math.max(0, ...finite) - low || 1;
      rows.forEach(([label, track, text], index) => {
        const value = values[index];
        label.textContent = labels[index];
        text.textContent = format(value);
        for (const cell of [label, track, text]) {
          cell.classList.toggle("highlighted", index === highlighted);
        }
        const [from, to] = [Math.min(0, value), Math.max(0, value)];
        track.firstChild.style.left = `${(100 * (from - low)) / span}%`;
        track.firstChild.style.width = `${(100 * (to - from)) / span}%`;
      });
    };
  },

  Table(card, panel) {
    const cells = panel.rows.map(() => [element("td"), element("td")]);
    card.append(element("table", {}, ...cells.map((row) => element("tr", {}, ...row))));
    return ({ rows }) => rows.forEach((row, i) => row.forEach((text, j) => {
      if (cells[i][j].textContent !== text) cells[i][j].textContent = text;
    }));
  },

  Heatmap(card, panel) {
    const labelColumn = element("div"), canvas = element("canvas");
    labelColumn.append(...panel.labels.map((label) => element("div", {}, label)));
    card.append(element("div", { class: "heatmap" }, labelColumn, element("div", {}, canvas)));
    const [empty, normal, highlight] = ["border", "blue", "amber"].map((name) => rgb(color(name)));
    return ({ values, labels, highlighted }) => {
      [canvas.width, canvas.height] = [values[0].length * 6, values.length * 7];
      const context = canvas.getContext("2d");
      values.forEach((row, i) => row.forEach((value, j) => {
        const full = highlighted.includes(labels[i]) ? highlight : normal;
        const mixed = empty.map((x, k) => Math.round(x + value * (full[k] - x)));
        context.fillStyle = `rgb(${mixed})`;
        context.fillRect(j * 6, i * 7, 5, 6);
      }));
    };
  },

  LineChart(card) {
    const canvas = element("canvas"), legend = element("div");
    card.append(element("div", { class: "line-chart" }, canvas, legend));
    return ({ series }) => {
      const names = Object.keys(series), colors = ["amber", "blue"].map(color);
      [canvas.width, canvas.height] = [2 * canvas.clientWidth, 152];
      const context = canvas.getContext("2d");
      const maximum = Math.max(1e-9, ...Object.values(series).flat());
      names.forEach((name, i) => {
        const values = series[name];
        context.strokeStyle = colors[i];
        context.lineWidth = 3;
        context.beginPath();
        values.forEach((value, j) => context.lineTo(
          (j / Math.max(values.length - 1, 1)) * canvas.width, 148 - (144 * value) / maximum));
        context.stroke();
      });
      if (legend.children.length !== names.length) {
        legend.replaceChildren(...names.map((name) => element("b", {}, name)));
        [...legend.children].forEach((label, i) => { label.style.color = colors[i]; });
      }
    };
  },

  Slider(card, panel, setSlider) {
    const input = element("input", { type: "range", min: panel.minimum, max: panel.maximum,
      step: panel.step, "aria-label": panel.name });
    const title = element("span"), output = element("output");
    const reset = element("button", { title: "Reset to the model's value" }, "↺");
    card.append(element("div", { class: "slider" }, title, input, output, reset));
    input.addEventListener("input", () => setSlider(panel.name, Number(input.value)));
    reset.addEventListener("click", () => setSlider(panel.name, null));
    return (newPanel) => {
      title.textContent = newPanel.title;
      const value = newPanel.value ?? newPanel.model_value;
      if (document.activeElement !== input || newPanel.value === null) input.value = value;
      output.textContent = Number.isInteger(newPanel.step) ? value : value.toFixed(2);
    };
  },
};

function rgb(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}
