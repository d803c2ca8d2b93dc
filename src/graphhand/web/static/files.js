// Results as files, under the name of the photo or video.

/** The lines of JSON and the table of CSV are those of `graphhand predict --json` and `--csv`. */
export function jsonLines(predictions) {
  return predictions.map((prediction) => `${JSON.stringify(prediction)}\n`).join("");
}

export function csvTable(predictions, joints) {
  const columns = ["image", "frame", "time_s", "track", "side", "score"];
  columns.push(...["x", "y", "z"].map((axis) => `wrist_cam_${axis}_m`));
  for (const joint of joints) columns.push(...["u_px", "v_px", "x_m", "y_m", "z_m"].map((value) => `${joint}_${value}`));
  const rows = predictions.flatMap((prediction) =>
    prediction.hands.map((hand) => [
      prediction.image,
      prediction.frame,
      prediction.time_s,
      hand.track,
      hand.side,
      hand.score,
      ...(hand.joints_cam_m?.[0] ?? ["", "", ""]),
      ...hand.joints_px.flatMap((px, joint) => [...px, ...hand.joints_rel_m[joint]]),
    ]),
  );
  return [columns, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function cell(value) {
  const text = String(value ?? "");
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Offer a file to the user. */
export function save(content, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** "clip" of "clip.mp4". */
export function stem(name) {
  return name.replace(/\.[^.]*$/, "");
}
