import { ChildProcess } from 'node:child_process';
import type { Readable } from 'node:stream';
import { keep } from './keep.js';

interface Spawning {
  spawn(this: ChildProcess, options: { readonly args?: readonly string[] }): unknown;
}

/** Keeps what processes of tests write: errors and logs of all, and of those that serve their standard output, too. */
export function keepChildOutput(): void {
  const prototype = ChildProcess.prototype as unknown as Spawning;
  const { spawn } = prototype;
  prototype.spawn = function (options) {
    const result = spawn.call(this, options);
    keepWhatIsRead(this.stderr);
    if (options.args?.includes('serve') === true) keepWhatIsRead(this.stdout);
    return result;
  };
}

/** A listener would make the stream flow before its reader is there. */
function keepWhatIsRead(stream: Readable | null): void {
  if (stream === null) return;
  const push = stream.push.bind(stream);
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (typeof chunk === 'string' || chunk instanceof Uint8Array) keep('logs', chunk);
    return push(chunk, encoding);
  };
}
