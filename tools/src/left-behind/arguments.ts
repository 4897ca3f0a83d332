import { readdirSync, readFileSync } from 'node:fs';

/** Notes the arguments of every process of this machine, again and again. Linux only: elsewhere there are none. */
export function watchArguments(everyMs: number): { readonly seen: ReadonlySet<string>; stop(): void } {
  const seen = new Set<string>();
  const look = () => {
    for (const line of argumentsNow()) seen.add(line);
  };
  const timer = setInterval(look, everyMs);
  look();
  return {
    seen,
    stop() {
      look();
      clearInterval(timer);
    },
  };
}

function argumentsNow(): string[] {
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      } catch {
        return '';
      }
    })
    .filter((line) => line !== '');
}
