// Hands on two canvases: on the image they were found in, and alone, to be turned.

const EDGE = "rgb(24 24 28)";
const GRID = "rgb(226 226 222)";
const GRID_M = 0.02;
const SMALLEST_WIDTH = 960;

/** The image with its hands; `skeleton` as the server's /skeleton. */
export function drawImage(canvas, image, width, height, hands, skeleton) {
  const zoom = Math.max(1, SMALLEST_WIDTH / width); // so that lines on small images are not coarse
  canvas.width = zoom * width;
  canvas.height = zoom * height;
  const context = canvas.getContext("2d");
  context.scale(zoom, zoom);
  context.drawImage(image, 0, 0, width, height);
  for (const hand of hands) {
    // the centre of the first pixel is (0, 0), of a canvas its corner is
    const points = hand.joints_px.map(([u, v]) => [u + 0.5, v + 0.5]);
    const [, , boxWidth, boxHeight] = hand.box_px;
    const line = Math.max(1.5, Math.max(boxWidth, boxHeight) / 45);
    const bones = skeleton.bones.map(([parent, child]) => ({ parent, child }));
    stroke(context, points, bones, line * 1.7, () => EDGE);
    stroke(context, points, bones, line, (joint) => skeleton.colours[joint]);
    label(context, `${hand.side} ${hand.score.toFixed(2)}`, hand.box_px, width, height);
  }
}

/** Of the hands on an image of some width, drawn by drawImage, the one with a joint nearest to a place on the page. */
export function nearestHand(canvas, width, hands, pageX, pageY) {
  const area = canvas.getBoundingClientRect();
  const fit = Math.min(area.width / canvas.width, area.height / canvas.height); // as the style's object-fit does
  const zoom = (fit * canvas.width) / width;
  const u = (pageX - area.left - (area.width - fit * canvas.width) / 2) / zoom;
  const v = (pageY - area.top - (area.height - fit * canvas.height) / 2) / zoom;
  const away = (hand) => Math.min(...hand.joints_px.map((joint) => Math.hypot(joint[0] - u, joint[1] - v)));
  return hands.reduce((nearest, hand) => (nearest && away(nearest) <= away(hand) ? nearest : hand), null);
}

/** A pose in 3D, which the pointer turns. */
export class PoseView {
  #canvas;
  #skeleton;
  #hand = null;
  #azimuth = 0;
  #elevation = 0;

  constructor(canvas, skeleton) {
    this.#canvas = canvas;
    this.#skeleton = skeleton;
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      this.#azimuth -= event.movementX * 0.01;
      this.#elevation = clamp(this.#elevation + event.movementY * 0.01, -Math.PI / 2, Math.PI / 2);
      this.#draw();
    });
    this.show(null);
  }

  show(hand) {
    this.#hand = hand;
    this.#draw();
  }

  /** As the camera sees it. */
  front() {
    this.#azimuth = this.#elevation = 0;
    this.#draw();
  }

  #draw() {
    const { width: size } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    context.fillStyle = "rgb(250 250 248)";
    context.fillRect(0, 0, size, size);
    const points = this.#hand ? turned(this.#hand.joints_rel_m, this.#azimuth, this.#elevation) : [];
    const reach = Math.max(0.09, ...points.map((point) => Math.hypot(...point)));
    const scale = (0.45 * size) / reach;
    grid(context, size, GRID_M * scale);
    if (!this.#hand) return;
    const seen = points.map(([x, y]) => [size / 2 + x * scale, size / 2 + y * scale]);
    const bones = this.#skeleton.bones.map(([parent, child]) => ({ parent, child, depth: points[child][2] }));
    bones.sort((a, b) => b.depth - a.depth); // nearer ones last
    for (const bone of bones) {
      const line = (size / 42) * (1 - (0.35 * bone.depth) / reach);
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

function label(context, text, [x, y], width, height) {
  const size = clamp(Math.min(width, height) / 28, 5, 40);
  context.font = `${size}px system-ui, sans-serif`;
  const [plateWidth, plateHeight] = [context.measureText(text).width + size, 1.6 * size];
  const left = clamp(x, 0, Math.max(0, width - plateWidth));
  const top = clamp(y - 1.3 * plateHeight, 0, Math.max(0, height - plateHeight));
  context.fillStyle = "rgb(24 24 28 / 65%)";
  context.fillRect(left, top, plateWidth, plateHeight);
  context.fillStyle = "white";
  context.fillText(text, left + size / 2, top + 1.15 * size);
}

function grid(context, size, spacing) {
  context.strokeStyle = GRID;
  context.lineWidth = 1;
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
