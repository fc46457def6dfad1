// What @huggingface/transformers computes from an export: reads a request as JSON from stdin, writes an answer to stdout.
//
// request: folder; classes (names of classes of models); texts; pixels ({dims, data} or null); pictures (paths of files)
// answer: ids (a list for each text, not cut); padded (input_ids and attention_mask of all texts, cut);
//         given_pixels (of texts and pixels) and from_files (of texts and each picture): by the name of an output, its
//         values by model; warnings
import fs from "node:fs";
import * as transformers from "@huggingface/transformers";

const { AutoProcessor, AutoTokenizer, RawImage, Tensor, env } = transformers;
env.allowRemoteModels = false;

const warnings = [];
console.warn = (...words) => warnings.push(words.join(" "));

const request = JSON.parse(fs.readFileSync(0, "utf-8"));
const tokenizer = await AutoTokenizer.from_pretrained(request.folder);
const processor = await AutoProcessor.from_pretrained(request.folder);
const models = await Promise.all(request.classes.map((name) => transformers[name].from_pretrained(request.folder)));

const list = (tensor) => tensor.tolist().map((row) => row.map(Number));
const padded = tokenizer(request.texts, { padding: true, truncation: true });

async function run(inputs) {
  const found = {};
  for (const model of models) {
    // A class that has one side takes the inputs of that side.
    const taken = Object.fromEntries(Object.entries(inputs).filter(([name]) => model.sessions.model.inputNames.includes(name)));
    for (const [name, value] of Object.entries(await model(taken))) {
      (found[name] ??= []).push(list(value));
    }
  }
  return found;
}

const answer = {
  ids: request.texts.map((text) => tokenizer.encode(text)),
  padded: Object.fromEntries(Object.entries(padded).map(([name, value]) => [name, list(value)])),
  from_files: [],
};
if (request.pixels) {
  const pixel_values = new Tensor("float32", Float32Array.from(request.pixels.data), request.pixels.dims);
  answer.given_pixels = await run({ ...padded, pixel_values });
}
for (const path of request.pictures) {
  const { pixel_values } = await processor(await RawImage.read(path));
  answer.from_files.push(await run({ ...padded, pixel_values }));
}
process.stdout.write(JSON.stringify({ ...answer, warnings }));
