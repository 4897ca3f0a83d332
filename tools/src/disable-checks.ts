/**
 * `npm run disable-checks -- [OPTIONS] [PATH]...`: switches one check off at a time, in a copy of the tree, and lists
 * those that no test misses. PATHs are folders or files below the root; without any, all packages.
 */
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { type CheckSite, findChecks } from './disable-checks/find.js';
import { Workbench } from './disable-checks/workbench.js';
import { isTestPath } from './imports/workspace.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    list: { type: 'boolean', default: false },
    kind: { type: 'string', multiple: true, default: [] },
    shard: { type: 'string', default: '1/1' },
    jobs: { type: 'string', default: '1' },
    quick: { type: 'boolean', default: false },
    'trust-tests': { type: 'boolean', default: false },
    timeout: { type: 'string', default: '300' },
    out: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const usage = `npm run disable-checks -- [OPTIONS] [PATH]...
  --list          only list the checks
  --kind KIND     only checks of this kind: guard, throw, refuse, call, report, attempt, codec, schema (may be repeated)
  --shard I/N     only every Nth check, beginning with the Ith
  --jobs N        copies that work side by side (default 1)
  --quick         ask the tests of the check's own package only, not those of the packages above it
  --trust-tests   do not begin with a run of all tests with every check on
  --timeout S     seconds after which a run counts as noticed (default 300)
  --out FILE      write the checks that survived as JSON`;

if (options.help) console.log(usage);
else process.exitCode = await main();

async function main(): Promise<number> {
  const sites = selectedSites();
  if (options.list) {
    for (const site of sites) console.log(describe(site));
    console.log(`${sites.length} checks`);
    return 0;
  }
  const benches = Array.from(
    { length: Math.min(Number(options.jobs), sites.length) },
    () => new Workbench('.'),
  );
  try {
    if (!options['trust-tests'] && (await benches[0]?.vitest(['run'], 1_800_000)) !== 'survived') {
      console.error('The tests fail with every check on: mend them first.');
      return 3;
    }
    const survivors = await tryAll(sites, benches);
    for (const site of survivors) console.log(`survived: ${describe(site)}`);
    console.log(
      `${sites.length - survivors.length} of ${sites.length} checks: a test fails when they are off`,
    );
    if (options.out !== undefined) writeFileSync(options.out, `${JSON.stringify(survivors, null, 2)}\n`);
    return survivors.length === 0 ? 0 : 1;
  } finally {
    for (const bench of benches) bench.close();
  }
}

async function tryAll(sites: readonly CheckSite[], benches: readonly Workbench[]): Promise<CheckSite[]> {
  const survivors: CheckSite[] = [];
  let next = 0;
  await Promise.all(
    benches.map(async (bench) => {
      while (next < sites.length) {
        const number = next++;
        const site = sites[number]!;
        const began = performance.now();
        const noticedBy = await bench.without(site, () => whoNotices(site, bench));
        const seconds = ((performance.now() - began) / 1000).toFixed(1);
        if (noticedBy === undefined) survivors.push(site);
        const outcome = noticedBy === undefined ? 'SURVIVED' : `noticed by ${noticedBy}`;
        console.error(`[${number + 1}/${sites.length}] ${outcome} in ${seconds} s: ${describe(site)}`);
      }
    }),
  );
  return survivors;
}

/** Asks the nearest tests first: most checks are missed by the file that stands beside them. */
async function whoNotices(site: CheckSite, bench: Workbench): Promise<string | undefined> {
  const beside = site.path.replace(/\.ts$/, '.test.ts');
  const related = ['related', '--run', site.path];
  const folder = dirname(site.path);
  const owner = site.path.split('/', 2).join('/');
  const others = readdirSync('packages').filter((name) => `packages/${name}` !== owner);
  const rounds: [string, string[]][] = [
    ...(bench.has(beside) ? [['the test beside it', ['run', beside]] satisfies [string, string[]]] : []),
    ...(hasTests(folder)
      ? [['tests of its folder', ['run', `${folder}/`]] satisfies [string, string[]]]
      : []),
    [`tests of ${owner}`, [...related, ...others.map((name) => `--exclude=packages/${name}/**`)]],
    ...(options.quick ? [] : [['tests of another package', related] satisfies [string, string[]]]),
  ];
  for (const [who, run] of rounds) {
    const outcome = await bench.vitest(run, Number(options.timeout) * 1000);
    if (outcome !== 'survived') return outcome === 'timeout' ? `${who} (timeout)` : who;
  }
  return undefined;
}

function hasTests(folder: string): boolean {
  return readdirSync(folder).some((name) => isTestPath(name));
}

function selectedSites(): CheckSite[] {
  const paths = positionals.length > 0 ? positionals : ['packages'];
  const files = paths.flatMap((path) => {
    if (statSync(path).isFile()) return [path];
    return readdirSync(path, { recursive: true, encoding: 'utf8' }).map((name) => join(path, name));
  });
  const sources = files
    .filter((path) => /^packages\/[^/]+\/src\/.*\.ts$/.test(path) && !isTestPath(path))
    .sort();
  const [index, count] = options.shard.split('/').map(Number) as [number, number];
  return sources
    .flatMap((path) => findChecks(path, readFileSync(path, 'utf8')))
    .filter((site) => options.kind.length === 0 || options.kind.includes(site.kind))
    .filter((_, position) => position % count === index - 1);
}

function describe(site: CheckSite): string {
  return `${site.path}:${site.line} ${site.kind}: ${site.text}`;
}
