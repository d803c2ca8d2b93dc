// Hands on two canvases: on the image they were found in, and alone, to be turned.

const EDGE = "rgb(24 24 28)";
const GRID_M = 0.02;
const LABEL_PX = 14; // of the screen
const LARGEST_SHARE = 0.72; // of the window's height that an image takes

/** An image with its hands, as large as its place on the page allows; labels and lines are in pixels of the screen. */
export class ImageView {
  #canvas;
  #skeleton;
  #shown = null; // image, width, height, hands, chosen, mirrored

  constructor(canvas, skeleton) {
    this.#canvas = canvas;
    this.#skeleton = skeleton;
    new ResizeObserver(() => this.#draw()).observe(canvas.parentElement);
  }

  /** Shows `image` (anything that a canvas draws) of `width` x `height` pixels. `mirrored` is for a camera's preview. */
  show(image, width, height, hands = [], chosen = null, mirrored = false) {
    this.#shown = { image, width, height, hands, chosen, mirrored };
    this.#canvas.hidden = false;
    this.#draw();
  }

  clear() {
    this.#shown = null;
    this.#canvas.hidden = true;
  }

  /** Of the hands on show, the one with a joint nearest to a place on the page. */
  nearest(pageX, pageY) {
    if (!this.#shown) return null;
    const area = this.#canvas.getBoundingClientRect();
    const place = placing(this.#shown, area.width / this.#shown.width);
    const away = (hand) =>
      Math.min(...hand.joints_px.map(place).map(([x, y]) => Math.hypot(x - (pageX - area.left), y - (pageY - area.top))));
    return this.#shown.hands.reduce((best, hand) => (best && away(best) <= away(hand) ? best : hand), null);
  }

  /** What is on show, at the image's own size, as a PNG. */
  async png() {
    const { width, height } = this.#shown;
    const canvas = new OffscreenCanvas(width, height);
    paint(canvas.getContext("2d"), this.#shown, 1, Math.max(LABEL_PX, Math.min(width, height) / 40), this.#skeleton);
    return canvas.convertToBlob({ type: "image/png" });
  }

  #draw() {
    if (!this.#shown) return;
    const { width, height } = this.#shown;
    const scale = Math.min(this.#canvas.parentElement.clientWidth / width, (LARGEST_SHARE * innerHeight) / height);
    const density = devicePixelRatio;
    this.#canvas.style.width = `${width * scale}px`;
    this.#canvas.style.height = `${height * scale}px`;
    this.#canvas.width = Math.round(width * scale * density);
    this.#canvas.height = Math.round(height * scale * density);
    const context = this.#canvas.getContext("2d");
    context.scale(density, density);
    paint(context, this.#shown, scale, LABEL_PX, this.#skeleton);
  }
}

/** From pixels of the image to those of a canvas; the centre of the first pixel is (0, 0), of a canvas its corner is. */
function placing({ width, mirrored }, scale) {
  return ([u, v]) => [(mirrored ? width - u - 0.5 : u + 0.5) * scale, (v + 0.5) * scale];
}

function paint(context, shown, scale, labelSize, skeleton) {
  const { image, width, height, hands, chosen, mirrored } = shown;
  context.save();
  if (mirrored) {
    context.translate(width * scale, 0);
    context.scale(-1, 1);
  }
  context.drawImage(image, 0, 0, width * scale, height * scale);
  context.restore();
  const place = placing(shown, scale);
  const bones = skeleton.bones.map(([parent, child]) => ({ parent, child }));
  for (const hand of hands) {
    const points = hand.joints_px.map(place);
    const [x, y, boxWidth, boxHeight] = hand.box_px;
    const line = clamp((Math.max(boxWidth, boxHeight) / 45) * scale, 2, labelSize / 2);
    stroke(context, points, bones, line * 1.7, () => EDGE);
    stroke(context, points, bones, line, (joint) => skeleton.colours[joint]);
    const [left, top] = place([mirrored ? x + boxWidth : x, y]);
    if (hands.length > 1 && hand === chosen) outline(context, left, top, boxWidth * scale, boxHeight * scale);
    const text = `${hand.side} ${hand.score.toFixed(2)}`;
    label(context, text, left, top, labelSize, width * scale, height * scale);
  }
}

/** A pose in 3D, which pointer, wheel and keys turn. */
export class PoseView {
  #canvas;
  #skeleton;
  #hand = null;
  #azimuth = 0;
  #elevation = 0;
  #zoom = 1;

  constructor(canvas, skeleton) {
    this.#canvas = canvas;
    this.#skeleton = skeleton;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.#turn(-event.movementX * 0.01, event.movementY * 0.01);
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.#magnify(Math.exp(-event.deltaY / 400));
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  show(hand) {
    this.#hand = hand;
    this.#draw();
  }

  /** As the camera sees it. */
  front() {
    this.#azimuth = this.#elevation = 0;
    this.#zoom = 1;
    this.#draw();
  }

  #key(event) {
    const actions = {
      ArrowLeft: () => this.#turn(0.15, 0),
      ArrowRight: () => this.#turn(-0.15, 0),
      ArrowUp: () => this.#turn(0, -0.15),
      ArrowDown: () => this.#turn(0, 0.15),
      "+": () => this.#magnify(1.2),
      "=": () => this.#magnify(1.2),
      "-": () => this.#magnify(1 / 1.2),
      0: () => this.front(),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }

  #turn(azimuth, elevation) {
    this.#azimuth += azimuth;
    this.#elevation = clamp(this.#elevation + elevation, -Math.PI / 2, Math.PI / 2);
    this.#draw();
  }

  #magnify(factor) {
    this.#zoom = clamp(this.#zoom * factor, 0.4, 6);
    this.#draw();
  }

  #draw() {
    const size = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    this.#canvas.width = this.#canvas.height = size;
    const context = this.#canvas.getContext("2d");
    const style = getComputedStyle(this.#canvas);
    const points = this.#hand ? turned(this.#hand.joints_rel_m, this.#azimuth, this.#elevation) : [];
    const reach = Math.max(0.09, ...points.map((point) => Math.hypot(...point))) / this.#zoom;
    const scale = (0.45 * size) / reach;
    grid(context, size, GRID_M * scale, style.getPropertyValue("--grid"));
    if (!this.#hand) return;
    const seen = points.map(([x, y]) => [size / 2 + x * scale, size / 2 + y * scale]);
    const bones = this.#skeleton.bones.map(([parent, child]) => ({ parent, child, depth: points[child][2] }));
    bones.sort((a, b) => b.depth - a.depth); // nearer ones last
    for (const bone of bones) {
      const line = (size / 55) * this.#zoom * clamp(1 - (0.35 * bone.depth) / (reach * this.#zoom), 0.4, 1.6);
      stroke(context, seen, [bone], line * 1.5, () => EDGE);
      stroke(context, seen, [bone], line, (joint) => this.#skeleton.colours[joint]);
    }
  }
}

/** Joints about their middle, in the axes of an onlooker who walked around the hand and climbed (x right, y down, z away). */
function turned(joints, azimuth, elevation) {
  const middle = [0, 1, 2].map((axis) => {
    const values = joints.map((joint) => joint[axis]);
    return (Math.min(...values) + Math.max(...values)) / 2;
  });
  const [ca, sa, ce, se] = [Math.cos(azimuth), Math.sin(azimuth), Math.cos(elevation), Math.sin(elevation)];
  return joints.map((joint) => {
    const [x, y, z] = joint.map((value, axis) => value - middle[axis]);
    const depth = ca * z - sa * x;
    return [ca * x + sa * z, ce * y + se * depth, ce * depth - se * y];
  });
}

function stroke(context, points, bones, width, colourOf) {
  context.lineCap = "round";
  context.lineWidth = width;
  for (const { parent, child } of bones) {
    context.strokeStyle = context.fillStyle = colourOf(child);
    context.beginPath();
    context.moveTo(...points[parent]);
    context.lineTo(...points[child]);
    context.stroke();
    dot(context, points[child], width);
    if (parent === 0) {
      context.fillStyle = colourOf(0);
      dot(context, points[0], 1.25 * width);
    }
  }
}

function dot(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function outline(context, left, top, width, height) {
  const margin = 0.06 * Math.max(width, height);
  for (const [colour, line] of [["rgb(24 24 28)", 4], ["white", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.strokeRect(left - margin, top - margin, width + 2 * margin, height + 2 * margin);
  }
}

function label(context, text, x, y, size, width, height) {
  context.font = `${size}px system-ui, sans-serif`;
  const [plateWidth, plateHeight] = [context.measureText(text).width + size, 1.6 * size];
  const left = clamp(x, 0, Math.max(0, width - plateWidth));
  const top = clamp(y - 1.3 * plateHeight, 0, Math.max(0, height - plateHeight));
  context.fillStyle = "rgb(24 24 28 / 72%)";
  context.fillRect(left, top, plateWidth, plateHeight);
  context.fillStyle = "white";
  context.fillText(text, left + size / 2, top + 1.15 * size);
}

function grid(context, size, spacing, colour) {
  context.strokeStyle = colour;
  context.lineWidth = devicePixelRatio;
  context.beginPath();
  for (let at = (size / 2) % spacing; at < size; at += spacing) {
    context.moveTo(at, 0);
    context.lineTo(at, size);
    context.moveTo(0, at);
    context.lineTo(size, at);
  }
  context.stroke();
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
