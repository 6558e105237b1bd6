// Panels as they come from the session: each kind knows how to make its card and how to renew it.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Show these panels, in the cards that are there where they are of the same kind. */
export function showPanels(container, panels, turn) {
  const cards = [...container.children];
  panels.forEach((panel, place) => {
    let card = cards[place];
    if (!card || card.dataset.kind !== shape(panel)) {
      const fresh = element("article", { class: "card" });
      fresh.dataset.kind = shape(panel);
      if (panel.kind !== "slider") fresh.append(element("h2"));
      fresh.renew = KINDS[panel.kind](fresh, panel, turn);
      fresh.append(element("p"));
      card ? card.replaceWith(fresh) : container.append(fresh);
      card = fresh;
    }
    const title = card.querySelector("h2"), note = card.querySelector(":scope > p");
    if (title && title.textContent !== panel.title) title.textContent = panel.title;
    if (note.textContent !== (panel.note || "")) note.textContent = panel.note || "";
    note.hidden = !panel.note;
    card.renew(panel);
  });
  cards.slice(panels.length).forEach((card) => card.remove());
}

/** What of a panel its card is built for. */
function shape(panel) {
  const parts = panel.pictures || panel.labels || panel.rows || Object.keys(panel.series || {});
  return `${panel.kind} ${parts.length} ${panel.name || ""}`;
}

/** Figures of pictures, each with its caption. */
export function gallery(container, pictures) {
  if (container.children.length !== pictures.length) {
    const figure = () => element("figure", {}, element("canvas"), element("figcaption"));
    container.replaceChildren(...pictures.map(figure));
  }
  pictures.forEach((picture, place) => {
    const [canvas, caption] = container.children[place].children;
    const [width, height] = picture.size;
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
      // A television's pixels are wider than they are tall.
      canvas.style.aspectRatio = width === 160 && height === 210 ? "4 / 3" : `${width} / ${height}`;
    }
    canvas.getContext("2d").drawImage(picture.bitmap, 0, 0);
    if (caption.textContent !== picture.caption) caption.textContent = picture.caption;
    canvas.setAttribute("aria-label", picture.caption);
  });
}

const number = (x) => (x === null ? "untried" : Math.abs(x) >= 1000 || Number.isInteger(x)
  ? Math.round(x).toLocaleString("en") : x.toPrecision(3));

const KINDS = {
  images(card, panel) {
    const pair = panel.pictures.length === 2 ? " pair" : "";
    const box = element("div", { class: `gallery${pair}` });
    card.append(box);
    return (now) => gallery(box, now.pictures);
  },

  bars(card, panel) {
    const box = element("div", { class: "bars" });
    const rows = panel.labels.map(() => {
      const row = [element("span"), element("span", { class: "track" }, element("i")), element("span")];
      box.append(...row);
      return row;
    });
    card.append(box);
    return (now) => {
      const known = now.values.filter((x) => x !== null);
      const low = Math.min(0, ...known), span = Math.max(0, ...known) - low || 1;
      rows.forEach(([label, track, shown], place) => {
        const value = now.values[place], chosen = place === now.chosen;
        label.textContent = now.labels[place];
        shown.textContent = number(value);
        for (const part of [label, track, shown]) part.classList.toggle("chosen", chosen);
        const [from, to] = [Math.min(0, value), Math.max(0, value)];
        track.firstChild.style.left = `${(100 * (from - low)) / span}%`;
        track.firstChild.style.width = `${(100 * (to - from)) / span}%`;
      });
    };
  },

  numbers(card, panel) {
    const cells = panel.rows.map(() => [element("td"), element("td")]);
    card.append(element("table", {}, ...cells.map((row) => element("tr", {}, ...row))));
    return (now) => now.rows.forEach((row, i) => row.forEach((text, j) => {
      if (cells[i][j].textContent !== text) cells[i][j].textContent = text;
    }));
  },

  matrix(card, panel) {
    const labels = element("div"), canvas = element("canvas");
    labels.append(...panel.labels.map((label) => element("div", {}, label)));
    card.append(element("div", { class: "matrix" }, labels, element("div", {}, canvas)));
    const [empty, full, marked] = ["edge", "blue", "amber"].map((name) => rgb(colour(name)));
    return (now) => {
      const [rows, columns] = [now.cells.length, now.cells[0].length];
      [canvas.width, canvas.height] = [columns * 6, rows * 7];
      const draw = canvas.getContext("2d");
      now.cells.forEach((row, i) => row.forEach((cell, j) => {
        const end = now.marks.includes(now.labels[i]) ? marked : full;
        const mixed = empty.map((x, k) => Math.round(x + (cell / 99) * (end[k] - x)));
        draw.fillStyle = `rgb(${mixed})`;
        draw.fillRect(j * 6, i * 7, 5, 6);
      }));
    };
  },

  line(card) {
    const canvas = element("canvas"), legend = element("div");
    card.append(element("div", { class: "lines" }, canvas, legend));
    return (now) => {
      const names = Object.keys(now.series), inks = ["amber", "blue"].map(colour);
      [canvas.width, canvas.height] = [2 * canvas.clientWidth, 152];
      const draw = canvas.getContext("2d");
      const most = Math.max(1e-9, ...Object.values(now.series).flat());
      names.forEach((name, i) => {
        const values = now.series[name];
        draw.strokeStyle = inks[i];
        draw.lineWidth = 3;
        draw.beginPath();
        values.forEach((value, j) => draw.lineTo(
          (j / Math.max(values.length - 1, 1)) * canvas.width, 148 - (144 * value) / most));
        draw.stroke();
      });
      if (legend.children.length !== names.length) {
        legend.replaceChildren(...names.map((name) => element("b", {}, name)));
        [...legend.children].forEach((name, i) => { name.style.color = inks[i]; });
      }
    };
  },

  slider(card, panel, turn) {
    const input = element("input", { type: "range", min: panel.low, max: panel.high,
      step: panel.step, "aria-label": panel.name });
    const title = element("span"), shown = element("output");
    const back = element("button", { title: "as the model has it" }, "↺");
    card.append(element("div", { class: "slider" }, title, input, shown, back));
    input.addEventListener("input", () => turn(panel.name, Number(input.value)));
    back.addEventListener("click", () => turn(panel.name, null));
    return (now) => {
      title.textContent = now.title;
      const value = now.value ?? now.own;
      if (document.activeElement !== input || now.value === null) input.value = value;
      shown.textContent = Number.isInteger(now.step) ? value : value.toFixed(2);
    };
  },
};

function rgb(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}
