import type { Io } from './io.js';

/** What goes on while a command works: one line on standard error that is overwritten, on a terminal only. */
export interface Progress {
  step(text: string): void;
  clear(): void;
}

export function terminalProgress(io: Io): Progress {
  if (io.stderr.isTTY !== true) return { step: () => undefined, clear: () => undefined };
  let shown = false;
  return {
    step(text) {
      shown = true;
      io.stderr.write(`\r\u001b[K${text.slice(0, (io.stderr.columns ?? 80) - 1)}`);
    },
    clear() {
      if (shown) io.stderr.write('\r\u001b[K');
      shown = false;
    },
  };
}
