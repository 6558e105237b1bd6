// The pictures and panels of a view: the session draws them, the page places them.

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
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

/** Show the main pictures, each with a caption. */
export function showPictures(container, pictures) {
  resize(container, pictures.length, () =>
    element("figure", {}, element("canvas", { role: "img" }), element("figcaption")));
  pictures.forEach(({ image, caption }, index) => {
    const [canvas, text] = container.children[index].children;
    const isNew = paint(canvas, image);
    if (text.textContent !== caption) {
      text.textContent = caption;
      canvas.setAttribute("aria-label", caption);
    }
    if (isNew) fitPictures(container);
  });
}

/** Size the main pictures: as large as there is room, with whole pixels per row if above 2. */
export function fitPictures(container) {
  const beside = getComputedStyle(document.querySelector("main")).gridTemplateColumns.includes(" ");
  const captions = Math.max(0, ...[...container.querySelectorAll("figcaption")]
    .map((caption) => caption.offsetHeight + 4));
  const height = (beside ? container.clientHeight : 0.6 * window.innerHeight) - captions;
  for (const { clientWidth, firstChild: canvas } of container.children) {
    const columns = canvas.width * canvas.pixelAspect;
    let scale = devicePixelRatio * Math.min(clientWidth / columns, height / canvas.height);
    scale = Math.max(scale >= 2 ? Math.floor(scale) : scale, 0.5) / devicePixelRatio;
    canvas.style.width = `${columns * scale}px`;
    canvas.parentElement.style.setProperty("--picture", canvas.style.width);
    canvas.style.height = `${canvas.height * scale}px`;
  }
}

/** Show the panels as cards, reusing the existing ones. */
export function showPanels(container, panels, setSlider) {
  resize(container, panels.length, () =>
    element("article", {}, element("div", { class: "drawing" }, element("div")), element("div")));
  panels.forEach(({ title, svg, images, sliders }, index) => {
    const card = container.children[index], [drawing, controls] = card.children;
    if (card.svg !== svg) {
      drawing.firstChild.innerHTML = card.svg = svg;
      card.setAttribute("aria-label", title);
    }
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

/** Append children, or remove the last ones, until a container has `count`. */
function resize(container, count, build) {
  while (container.children.length > count) container.lastChild.remove();
  while (container.children.length < count) container.append(build());
}

/** Paint an image on a canvas of its size; returns whether the size is new. */
function paint(canvas, { size: [width, height], pixelAspect, bitmap }) {
  const isNew = canvas.width !== width || canvas.height !== height;
  if (isNew) Object.assign(canvas, { width, height, pixelAspect });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return isNew;
}

function buildSlider(setSlider) {
  const title = element("span"), output = element("output");
  const input = element("input", { type: "range" });
  const reset = element("button", { title: "Reset to the model's value" }, "↺");
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
