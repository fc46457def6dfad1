// What @huggingface/transformers computes from an export: reads a request as JSON from stdin, writes an answer to stdout.
//
// request: folder; towers (class of transformers.js -> the names of its outputs); texts; pixels ({dims, data});
//          pictures (paths of files)
// answer: ids and mask (a list for each text, without padding to a batch); padded (ids and mask of all texts);
//         text_embeds, image_embeds (of pixels), from_files (of pictures), logits_per_image; warnings
import fs from "node:fs";
import * as transformers from "@huggingface/transformers";

const { AutoProcessor, AutoTokenizer, RawImage, Tensor, env } = transformers;
env.allowRemoteModels = false;
env.localModelPath = "";

const warnings = [];
console.warn = (...words) => warnings.push(words.join(" "));

const request = JSON.parse(fs.readFileSync(0, "utf-8"));
const tokenizer = await AutoTokenizer.from_pretrained(request.folder);
const processor = await AutoProcessor.from_pretrained(request.folder);
const models = await Promise.all(request.classes.map((name) => transformers[name].from_pretrained(request.folder)));

const list = (tensor) => tensor.tolist().map((row) => row.map(Number));
const padded = tokenizer(request.texts, { padding: true, truncation: true });
const pixel_values = new Tensor("float32", Float32Array.from(request.pixels.data), request.pixels.dims);

async function run(inputs) {
  const found = {};
  for (const model of models) {
    for (const [name, value] of Object.entries(await model(inputs))) {
      (found[name] ??= []).push(list(value));
    }
  }
  return found;
}

const answer = {
  ids: request.texts.map((text) => tokenizer.encode(text)),
  padded: Object.fromEntries(Object.entries(padded).map(([name, value]) => [name, list(value)])),
  given_pixels: await run({ ...padded, pixel_values }),
  from_files: [],
  pixels_of_files: [],
};
for (const path of request.pictures) {
  const { pixel_values } = await processor(await RawImage.read(path));
  answer.from_files.push(await run({ ...padded, pixel_values }));
}
answer.warnings = warnings;
process.stdout.write(JSON.stringify(answer));
