/**
 * `npm run bench [-- --json] [-- NAME]...`: each operation against the bare primitives it needs, in the same run.
 * NAMEs are parts of benchmark names.
 */
import { parseArgs } from 'node:util';
import { benchmarks } from './index.js';
import { type Measurement, measure } from './measure.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '9' },
    slice: { type: 'string', default: '200' },
  },
});

const results: Measurement[] = [];
for (const { name, make } of benchmarks) {
  if (positionals.length > 0 && !positionals.some((part) => name.includes(part))) continue;
  process.stderr.write(`${name} …\n`);
  const benchmark = { name, ...(await make()) };
  try {
    const settings = { rounds: Number(options.rounds), sliceMs: Number(options.slice) };
    results.push(await measure(benchmark, settings));
  } finally {
    await benchmark.close?.();
  }
}

const shown = (rate: number) => (rate >= 100 ? rate.toFixed(0) : rate.toPrecision(3));
if (options.json) {
  console.log(JSON.stringify(results, null, 2));
} else {
  const rows = [
    ['', 'ours', 'raw', 'unit', 'ours to raw'],
    ...results.map((each) => [
      each.name,
      shown(each.value),
      shown(each.raw),
      each.unit,
      each.ratio.toFixed(2),
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    console.log(
      row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  '),
    );
  for (const { name, notes } of results) for (const note of notes) console.log(`${name}: ${note}`);
}
