// The pictures and panels of a view: the session lays them out, the page builds them. Texts become
// text nodes, nothing is parsed as HTML: a view may be that of a stranger's file.

const SVG = "http://www.w3.org/2000/svg";

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Set a text only if it is new, so that screen readers announce changes alone. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Decode all images of a view; each gets a `bitmap`, to be closed. Returns them. */
export async function decodeImages(view) {
  const images = [...view.pictures, ...view.panels.flatMap((panel) => panel.images)]
    .map(({ image }) => image);
  await Promise.all(images.map(async (image) => {
    const png = Uint8Array.from(atob(image.png), (character) => character.charCodeAt(0));
    image.bitmap = await createImageBitmap(new Blob([png], { type: "image/png" }));
  }));
  return images;
}

/** Show the main pictures of a player, each with a caption. */
export function showPictures(container, pictures, player) {
  resize(container, pictures.length, () =>
    element("figure", {}, element("canvas", { role: "img" }), element("figcaption")));
  pictures.forEach(({ image, caption }, index) => {
    const [canvas, text] = container.children[index].children;
    const isNew = paint(canvas, image);
    setText(text, caption);
    canvas.setAttribute("aria-label", `${caption}, ${player}`);
    if (isNew) fitPictures(container);
  });
}

/** Size the main pictures: as large as there is room, in halves of a pixel per row from 2 on. */
export function fitPictures(container) {
  // From some width on the page is as high as the window.
  const width = document.body.classList.contains("two") ? 1600 : 1100;
  const bounded = matchMedia(`(min-width: ${width}px)`).matches;
  const captions = Math.max(0, ...[...container.querySelectorAll("figcaption")]
    .map((caption) => caption.offsetHeight + 4));
  const height = (bounded ? container.clientHeight : 0.55 * window.innerHeight) - captions;
  for (const { clientWidth, firstChild: canvas } of container.children) {
    const columns = canvas.width * canvas.pixelAspect;
    let scale = devicePixelRatio * Math.min(clientWidth / columns, height / canvas.height);
    scale = Math.max(scale >= 2 ? Math.floor(2 * scale) / 2 : scale, 0.5) / devicePixelRatio;
    canvas.style.width = `${columns * scale}px`;
    canvas.parentElement.style.setProperty("--picture", canvas.style.width);
    canvas.style.height = `${canvas.height * scale}px`;
  }
}

/** Show the panels as cards, reusing the existing ones. */
export function showPanels(container, panels, setSlider) {
  resize(container, panels.length, () =>
    element("article", {}, element("div", { class: "drawing" }, svgElement("svg")), element("div")));
  panels.forEach(({ title, drawing: marks, images, sliders }, index) => {
    const card = container.children[index], [drawing, controls] = card.children;
    card.setAttribute("aria-label", title);
    draw(drawing.firstChild, marks);
    resize(drawing, 1 + images.length, () => element("canvas", { "aria-hidden": true }));
    images.forEach((placed, i) => {
      const canvas = drawing.children[1 + i];
      paint(canvas, placed.image);
      canvas.classList.toggle("erasable", placed.erasable);
      for (const side of ["left", "top", "width", "height"]) {
        canvas.style[side] = `${placed[side]}%`;
      }
    });
    resize(controls, sliders.length, () => buildSlider(setSlider));
    sliders.forEach((slider, i) => controls.children[i].update(slider));
  });
}

/** Draw marks as elements of an SVG, reusing those that it has. */
function draw(svg, { size: [width, height], paths, lines, texts }) {
  const marks = [
    ...paths.map(([style, opacity, d]) => ["path", { class: style, opacity, d }]),
    ...lines.map(([style, points]) => ["polyline", { class: style, points }]),
    ...texts.map(([x, y, text, style, anchor]) =>
      ["text", { x, y, class: style, "text-anchor": anchor }, text]),
  ];
  setAttributes(svg, { viewBox: `0 0 ${width} ${height}` });
  marks.forEach(([tag, attributes, text = ""], i) => {
    let node = svg.children[i];
    if (node?.tagName !== tag) {
      const fresh = svgElement(tag);
      if (node) node.replaceWith(fresh);
      else svg.append(fresh);
      node = fresh;
    }
    setAttributes(node, attributes);
    setText(node, text);
  });
  while (svg.children.length > marks.length) svg.lastChild.remove();
}

function svgElement(tag) {
  return document.createElementNS(SVG, tag);
}

function setAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    const text = String(value);
    if (node.getAttribute(name) !== text) node.setAttribute(name, text);
  }
}

/** Append children, or remove the last ones, until a container has `count`. */
function resize(container, count, build) {
  while (container.children.length > count) container.lastChild.remove();
  while (container.children.length < count) container.append(build());
}

/** Paint an image on a canvas of its size; returns whether the size is new. */
function paint(canvas, { size: [width, height], pixelAspect, bitmap }) {
  const isNew = canvas.width !== width || canvas.height !== height;
  if (isNew) Object.assign(canvas, { width, height });
  canvas.pixelAspect = pixelAspect;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return isNew;
}

function buildSlider(setSlider) {
  const title = element("span"), output = element("output");
  const input = element("input", { type: "range" });
  const reset = element("button", { title: "Reset to the model's value", "aria-label": "Reset" }, "↺");
  const node = element("label", { class: "slider" }, title, input, output, reset);
  let slider = {};
  input.addEventListener("input", () => setSlider(slider.name, Number(input.value)));
  reset.addEventListener("click", () => setSlider(slider.name, null));
  node.update = (newSlider) => {
    slider = newSlider;
    title.textContent = slider.title;
    Object.assign(input, { min: slider.minimum, max: slider.maximum, step: slider.step });
    const value = slider.value ?? slider.model_value;
    if (document.activeElement !== input || slider.value === null) input.value = value;
    output.textContent = Number.isInteger(slider.step) ? value : value.toFixed(2);
  };
  return node;
}
