import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UnavailableError } from '@vouchsafe/sev';

/**
 * What an OpenPGP message says, where one of these keys signed it; undefined when none did. GnuPG does the work, with a
 * key ring of its own that holds these keys only and is gone afterwards.
 * @throws UnavailableError when gpg is missing or cannot read the keys
 */
export async function openSignedMessage(
  message: Uint8Array,
  keyRings: readonly Uint8Array[],
  gpg = 'gpg',
): Promise<Uint8Array | undefined> {
  const home = await mkdtemp(join(tmpdir(), 'vouchsafe-gpg-'));
  const common = ['--homedir', home, '--batch', '--no-tty', '--no-autostart', '--trust-model', 'always'];
  try {
    for (const keys of keyRings) {
      const { status } = await run(gpg, [...common, '--import'], keys);
      if (status !== 0) throw new UnavailableError('keys of the image policy', 'gpg cannot read them');
    }
    const { status, output, report } = await run(gpg, [...common, '--status-fd', '2', '--decrypt'], message);
    const words = report.split('\n').flatMap((line) => /^\[GNUPG:\] (\S+)/.exec(line)?.[1] ?? []);
    const isGood = words.filter((word) => word === 'VALIDSIG').length === 1;
    const isBad = words.some((word) => /^(?:BADSIG|ERRSIG|EXPSIG|EXPKEYSIG|REVKEYSIG|NODATA)$/.test(word));
    return status === 0 && isGood && !isBad ? output : undefined;
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

function run(program: string, words: readonly string[], input: Uint8Array) {
  return new Promise<{ status: number; output: Uint8Array; report: string }>((resolve, reject) => {
    const child = spawn(program, words, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    const [output, report]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on('data', (part: Buffer) => output.push(part));
    child.stderr.on('data', (part: Buffer) => report.push(part));
    child.once('error', (cause: NodeJS.ErrnoException) => {
      const missing = cause.code === 'ENOENT';
      reject(
        new UnavailableError(program, missing ? 'the program is not installed' : cause.message, {
          cause,
          hint: missing ? 'install the package gpg, or require sigstore signatures' : undefined,
        }),
      );
    });
    child.once('close', (status) =>
      resolve({
        status: status ?? -1,
        output: Buffer.concat(output),
        report: Buffer.concat(report).toString(),
      }),
    );
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
  });
}
