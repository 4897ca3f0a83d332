/**
 * `node tools/dist/left-behind/main.js PROGRAM WORD…` runs the tests for `tools/test`; a secret of theirs that turns up
 * where it should not be fails the run.
 */
import { existsSync, mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runAndSearch } from './run.js';

/** Tests write databases that wait for the disk: where there is room, they are held in memory. */
function placeForTemporaryFiles(): string {
  const inMemory = '/dev/shm';
  if (!existsSync(inMemory)) return tmpdir();
  const { bavail, bsize } = statfsSync(inMemory);
  return bavail * bsize > 4 * 2 ** 30 ? inMemory : tmpdir();
}

// Vitest would write without colours into a pipe.
if (process.stdout.isTTY) process.env['FORCE_COLOR'] ??= '1';
// Short: the path of a socket has 107 bytes at most.
const folder = mkdtempSync(join(placeForTemporaryFiles(), 'vt-'));
try {
  const { status, findings, remains, searched } = await runAndSearch(folder, process.argv.slice(2), (part) =>
    process.stdout.write(part),
  );
  if (remains.length > 0) console.log(`Left in the temporary folder: ${remains.join(', ')}`);
  for (const finding of findings) console.log(`A test's secret was left behind: ${finding}`);
  console.log(`Searched for the tests' secrets: ${searched}; ${findings.length} found.`);
  process.exitCode = status !== 0 ? status : findings.length > 0 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
