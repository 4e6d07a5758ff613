// Classes of all test images from Node.js, with no preprocessing: what docs/deploy.md shows.
//
//     npm install onnxruntime-node --onnxruntime-node-install=skip
//     node node.mjs FILE.onnx DATA
//
// run beside node_modules; DATA is a folder of prepared data. Prints one class a line, as does
//
//     python -c 'import sys, numpy as np; from rolekd.export import load
//     images = np.load(sys.argv[2] + "/images.npy")[np.load(sys.argv[2] + "/test.npy")]
//     print(*load(sys.argv[1])(images)[0].argmax(1), sep="\n")' FILE.onnx DATA

import { readFileSync } from "node:fs";
import ort from "onnxruntime-node";

const [file, data] = process.argv.slice(2);

/** Shape and bytes of a .npy file of format version 1. */
function npy(path) {
  const content = readFileSync(path);
  const start = 10 + content.readUInt16LE(8);
  const shape = /'shape': \(([^)]*)\)/.exec(content.toString("latin1", 10, start))[1];
  return { shape: shape.split(",").filter((n) => n.trim()).map(Number), bytes: content.subarray(start) };
}

const images = npy(`${data}/images.npy`);
const test = npy(`${data}/test.npy`);
const [height, width, channels] = images.shape.slice(1);
const size = height * width * channels;
const session = await ort.InferenceSession.create(file);
for (let n = 0; n < test.shape[0]; n++) {
  const index = Number(test.bytes.readBigInt64LE(8 * n));
  const pixels = new Uint8Array(images.bytes.subarray(index * size, (index + 1) * size));
  const image = new ort.Tensor("uint8", pixels, [1, height, width, channels]);
  const { logits } = await session.run({ image });
  console.log(logits.data.indexOf(Math.max(...logits.data)));
}
