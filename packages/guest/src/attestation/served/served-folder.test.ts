import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parseCertificateTable, parseSnpReport } from '@vouchsafe/sev';
import { expect, it, onTestFinished } from 'vitest';
import { channelAttestationDevice } from '../../snp/channel-device.js';
import { openGuestChannel } from '../../snp/guest-channel.js';
import {
  hostOf,
  type Relay,
  ScriptedFirmware,
  scriptedCertificateTable,
} from '../../testing/scripted-firmware.js';
import { temporaryFolder } from '../../testing/temporary.js';
import { serveAttestationFolder } from './served-folder.js';

const nonce = Uint8Array.from({ length: 64 }, (_, i) => i + 1);

async function serve(relay?: Relay) {
  const at = temporaryFolder();
  const folder = join(at, 'report');
  const firmware = new ScriptedFirmware();
  const key = firmware.key(0);
  const device = channelAttestationDevice(
    openGuestChannel({ transport: hostOf(firmware, relay), key, vmpck: 0 }),
  );
  const problems: string[] = [];
  const served = await serveAttestationFolder(device, folder, { onProblem: (each) => problems.push(each) });
  onTestFinished(async () => {
    await served.close();
    await device.close();
  });
  writeFileSync(join(at, 'nonce'), nonce);
  return { at, folder, firmware, problems, served };
}

/** Runs a script of a shell with the folder as $1, in the folder beside it. */
async function shell(at: string, folder: string, script: string): Promise<string> {
  const { stdout } = await promisify(execFile)('sh', ['-euc', script, 'sh', folder], {
    cwd: at,
    timeout: 60_000,
  });
  return stdout;
}

it('gives a report to a script of nothing but mkdir, cat and redirection', async () => {
  const { at, folder, firmware } = await serve();
  await shell(
    at,
    folder,
    `
    mkdir "$1/mine"
    cat "$1/ready"
    cat "$1/mine/provider" > provider
    cat "$1/mine/generation" > before
    cat nonce > "$1/mine/inblob"
    cat "$1/mine/outblob" > report.bin
    cat "$1/mine/auxblob" > certificates.bin
    cat "$1/mine/generation" > after
    `,
  );
  const file = (name: string) => new Uint8Array(readFileSync(join(at, name)));
  const text = (name: string) => readFileSync(join(at, name), 'utf8');
  const report = parseSnpReport(file('report.bin'));
  expect(report).toMatchObject({ reportData: nonce, vmpl: 0 });
  expect(file('certificates.bin')).toEqual(scriptedCertificateTable);
  expect(parseCertificateTable(file('certificates.bin'))).toHaveLength(3);
  expect([text('provider'), text('before'), text('after')]).toEqual(['sev_guest\n', '0\n', '1\n']);
  expect(firmware.answered, 'one report for both blobs').toEqual(['REPORT_REQ']);
});

it('counts writes, makes a report anew for each, and names the level asked for', async () => {
  const { at, folder, firmware } = await serve();
  const said = await shell(
    at,
    folder,
    `
    mkdir "$1/e"; cat "$1/ready" > /dev/null
    echo 2 > "$1/e/privlevel"
    cat nonce > "$1/e/inblob"
    cat "$1/e/generation"
    cat "$1/e/outblob" > first
    cat "$1/e/outblob" > again
    echo 0x3 > "$1/e/privlevel"
    cat "$1/e/outblob" > second
    cat "$1/e/generation"
    `,
  );
  expect(said).toBe('2\n3\n');
  const vmpl = (name: string) => parseSnpReport(new Uint8Array(readFileSync(join(at, name)))).vmpl;
  expect([vmpl('first'), vmpl('again'), vmpl('second')]).toEqual([2, 2, 3]);
  expect(firmware.answered).toHaveLength(2);
});

it('says why there is no report, and gives none', async () => {
  const { at, folder, firmware } = await serve();
  const said = await shell(
    at,
    folder,
    `
    mkdir "$1/e"; cat "$1/ready" > /dev/null
    cat "$1/e/outblob"; cat "$1/e/error"
    cat nonce nonce > "$1/e/inblob"
    cat "$1/e/outblob"; cat "$1/e/error"
    printf 7 > "$1/e/privlevel"; cat nonce > "$1/e/inblob"
    cat "$1/e/generation"
    printf short > "$1/e/inblob"
    cat "$1/e/outblob"; cat "$1/e/error"
    cat "$1/e/generation"
    `,
  );
  expect(said.split('\n')).toEqual([
    'inblob: nothing was written',
    'inblob: more than 64 bytes; read generation between two writes',
    '1',
    'report data: expected 64 bytes, found 5',
    '2',
    '',
  ]);
  expect(firmware.answered).toEqual([]);
});

it('a report that failed is asked for again at the next read', async () => {
  let failing = true;
  const { at, folder } = await serve((request, certificates, next) =>
    failing
      ? Promise.resolve({ firmwareError: 0, vmmError: 3, response: new Uint8Array(4096) })
      : next(request, certificates),
  );
  const first = await shell(
    at,
    folder,
    'mkdir "$1/e"; cat "$1/ready" >/dev/null; cat nonce > "$1/e/inblob"; cat "$1/e/outblob"; cat "$1/e/error"',
  );
  expect(first).toContain('the host reports error 3');
  failing = false;
  // The channel’s key is gone, so that there is none the second time either, for another reason.
  expect(await shell(at, folder, 'cat "$1/e/outblob"; cat "$1/e/error"')).toContain('the key was wiped');
});

it('serves entries apart, lets go of removed ones, and is for its user alone', async () => {
  const { at, folder, served, problems } = await serve();
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  await shell(
    at,
    folder,
    `
    mkdir "$1/a" "$1/b"; cat "$1/ready" > /dev/null
    cat nonce > "$1/a/inblob"; printf other > "$1/b/inblob"
    cat "$1/a/outblob" > report.bin
    rm -r "$1/a"; mkdir "$1/a"; cat "$1/ready" > /dev/null
    cat "$1/a/generation" > fresh
    `,
  );
  expect(parseSnpReport(new Uint8Array(readFileSync(join(at, 'report.bin')))).reportData).toEqual(nonce);
  expect(readFileSync(join(at, 'fresh'), 'utf8')).toBe('0\n');
  expect(statSync(join(folder, 'b', 'inblob')).mode & 0o777).toBe(0o600);
  expect(problems).toEqual([]);
  await served.close();
  expect(existsSync(folder)).toBe(false);
});

it('files that were there before the entry’s own are a problem of that entry', async () => {
  const { at, folder, problems } = await serve();
  await shell(
    at,
    folder,
    'mkdir .made; cat nonce > .made/inblob; mv .made "$1/e"; cat "$1/ready" > /dev/null',
  );
  expect(problems).toEqual([expect.stringMatching(/^e: .*read ready after mkdir$/s)]);
  expect(readdirSync(join(folder, 'e'))).not.toContain('provider');
});

it('a folder with files in it is not served', async () => {
  const at = temporaryFolder();
  mkdirSync(join(at, 'x'));
  const firmware = new ScriptedFirmware();
  const device = channelAttestationDevice(
    openGuestChannel({ transport: hostOf(firmware), key: firmware.key(0), vmpck: 0 }),
  );
  await expect(serveAttestationFolder(device, at)).rejects.toThrow('the folder is not empty');
});
