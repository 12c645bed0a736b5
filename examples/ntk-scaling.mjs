// Time and memory of ntk.gram against the number of samples, as JSON and a drawing.
//   node examples/ntk-scaling.mjs [folder = runs/ntk-scaling]
// GPT of d 256 × 4 layers, V 2048, sequences of 64 tokens, all parameters, one thread, maxBytes 1 GB. Memory
// is the peak of the arena (what the library works in); the result is n² float64 numbers on top.
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus } from 'node:os';

import * as echarts from 'echarts';
import { createContext, Model, ntk } from 'headfirst';

const folder = process.argv[2] ?? 'runs/ntk-scaling';
const maxBytes = 1e9;
const context = await createContext({ device: 'cpu', threads: 1 });
const model = await Model.fromConfig(
  {
    model_type: 'gpt',
    vocab_size: 2048,
    hidden_size: 256,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    max_position_embeddings: 64,
  },
  { context, seed: 3 },
);
let state = 12345;
const random = (below) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state % below;
};
const samples = Array.from({ length: 512 }, () => ({
  inputIds: Array.from({ length: 64 }, () => random(2048)),
  scoreFrom: 1,
}));

await ntk.gram(model, samples.slice(0, 8), null, { maxBytes }); // warm
const rows = [];
for (const n of [16, 32, 64, 128, 256, 512]) {
  context.memory(); // resets the peak
  const start = performance.now();
  const { cost, implementation } = await ntk.gram(model, samples.slice(0, n), null, { maxBytes });
  const seconds = (performance.now() - start) / 1e3;
  rows.push({
    n,
    seconds,
    arenaPeakBytes: context.memory().arenaPeakBytes,
    resultBytes: 8 * n * n,
    blocks: cost.blocks,
    implementation,
  });
  const megabytes = (rows.at(-1).arenaPeakBytes / 1e6).toFixed(0);
  console.log(`n ${n}: ${seconds.toFixed(2)} s, ${megabytes} MB in ${cost.blocks} blocks`);
}

mkdirSync(folder, { recursive: true });
const results = {
  date: new Date().toISOString(),
  command: 'node examples/ntk-scaling.mjs',
  cpu: cpus()[0].model,
  arch: arch(),
  node: process.versions.node,
  maxBytes,
  rows,
};
writeFileSync(`${folder}/scaling.json`, `${JSON.stringify(results, null, 1)}\n`);
const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 640, height: 360 });
chart.setOption({
  animation: false,
  backgroundColor: '#fff',
  color: ['#2f6fde', '#d9631e', '#1f9d74'],
  legend: { top: 4 },
  grid: { left: 64, right: 72, top: 44, bottom: 48 },
  xAxis: { type: 'log', logBase: 2, name: 'samples', nameLocation: 'middle', nameGap: 28, min: 16, max: 512 },
  yAxis: [
    { type: 'log', name: 'seconds' },
    { type: 'value', name: 'MB', min: 0, splitLine: { show: false } },
  ],
  series: [
    { name: 'time', type: 'line', data: rows.map((r) => [r.n, r.seconds]) },
    {
      name: 'working memory',
      type: 'line',
      yAxisIndex: 1,
      data: rows.map((r) => [r.n, r.arenaPeakBytes / 1e6]),
    },
    { name: 'result', type: 'line', yAxisIndex: 1, data: rows.map((r) => [r.n, r.resultBytes / 1e6]) },
  ],
});
writeFileSync(`${folder}/scaling.svg`, chart.renderToSVGString());
chart.dispose();
