import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';

/**
 * The scripts for Debian's initramfs-tools, run by this machine's shell with stand-ins for what they call. Each stand-in
 * writes down how it was called. `tools/src/initrd/debian-initrd.test.ts` boots them for real.
 */
const scripts = resolve(import.meta.dirname, '../../initramfs/debian');

interface Surroundings {
  /** Stand-ins by their names: what they do besides writing down that they were called. */
  readonly programs: Readonly<Record<string, string>>;
  /** Files below the root that the script believes in. */
  readonly files?: Readonly<Record<string, string>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly argument?: string;
}

/** Runs a script whose absolute paths lead into a folder of its own. */
function runScript(name: 'hook' | 'local-top', { programs, files, environment, argument }: Surroundings) {
  const folder = mkdtempSync(join(tmpdir(), 'vouchsafe-initramfs-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const at = (path: string) => join(folder, path);
  for (const path of ['bin', 'scripts', 'proc', 'conf', 'etc/vouchsafe', 'usr/share/initramfs-tools'])
    mkdirSync(at(path), { recursive: true });
  mkdirSync(at('usr/lib/vouchsafe'), { recursive: true });
  for (const [path, text] of Object.entries(files ?? {})) writeFileSync(at(path), text);
  for (const [program, does] of Object.entries(programs)) {
    const text = `#!/bin/sh\necho "${program}\${*:+ }$*" >>${at('calls')}\n${does}\n`;
    writeFileSync(at(`bin/${program}`), text, { mode: 0o755 });
  }
  const paths = /(?<=[\s=<>])\/(?=(?:scripts|proc|conf|etc\/vouchsafe|usr)\/)/g;
  const text = readFileSync(join(scripts, name), 'utf8').replaceAll(paths, `${folder}/`);
  writeFileSync(at('script'), text);
  const { status, signal, stdout, stderr } = spawnSync(
    '/bin/sh',
    [at('script'), ...(argument ?? '').split(' ')],
    {
      encoding: 'utf8',
      env: { ...environment, PATH: `${at('bin')}:/nowhere` },
      timeout: 20_000,
    },
  );
  const read = (path: string) => (existsSync(at(path)) ? readFileSync(at(path), 'utf8') : '');
  const calls = read('calls').replaceAll(folder, '').split('\n').slice(0, -1);
  return { status, signal, output: `${stdout}${stderr}`.replaceAll(folder, ''), calls, read };
}

describe('the script that opens the root disk', () => {
  const asked = 'vouchsafe.disk=/dev/vda vouchsafe.key=kbs:///default/disk/root vouchsafe.binding=2f0c';

  /** A machine that is switched off ends the script where it stands; `attempts` says how often that fails before. */
  function boot(commandLine: string, more: Partial<Surroundings> & { readonly attempts?: number } = {}) {
    const { attempts = 0, programs, files, ...rest } = more;
    const off = `[ "$(/bin/grep -c '^poweroff' "$0.calls")" -le ${attempts} ] || kill -9 $PPID`;
    return runScript('local-top', {
      programs: {
        cat: 'exec /bin/cat "$@"',
        node: '',
        modprobe: 'exit 1',
        mount: 'exit 1',
        sync: '',
        sleep: '',
        poweroff: `echo poweroff >>"$0.calls"; ${off}; exit 1`,
        ...programs,
      },
      files: {
        'proc/cmdline': `console=ttyS0 root=/dev/mapper/root ${commandLine}\n`,
        'scripts/functions': [
          'log_failure_msg() { :; }',
          `configure_networking() { mount configure_networking; }`,
          `wait_for_udev() { mount wait_for_udev "$1"; }`,
        ].join('\n'),
        ...files,
      },
      ...rest,
    });
  }
  const unlocks = (calls: readonly string[]) => calls.filter((call) => call.startsWith('node '));

  it('has the key asked for with what stands on the command line, and goes on', () => {
    const { status, calls, output } = boot(
      `${asked} vouchsafe.broker=https://broker.example vouchsafe.fingerprint=9b1e vouchsafe.device=/dev/x`,
    );
    expect([status, output]).toEqual([0, '']);
    expect(unlocks(calls)).toEqual([
      'node /lib/vouchsafe/vouchsafe.mjs disk unlock /dev/vda --name root --key kbs:///default/disk/root ' +
        '--binding 2f0c --broker https://broker.example --fingerprint 9b1e --device /dev/x',
    ]);
    expect(calls).toContain('mount configure_networking');
    expect(calls).toContain('mount -t configfs configfs /sys/kernel/config');
    expect(calls.indexOf('mount wait_for_udev 10')).toBeLessThan(
      calls.findIndex((call) => call.startsWith('node')),
    );
    expect(calls).not.toContain('poweroff -f');
  });

  it('opens the volume under another name where one is given', () => {
    const { calls } = boot(`${asked} vouchsafe.name=data`);
    expect(unlocks(calls)[0]).toContain('--name data ');
  });

  it('wants no network for an injected key', () => {
    const { status, calls } = boot('vouchsafe.disk=/dev/vda vouchsafe.key=injected vouchsafe.binding=2f0c');
    expect(status).toBe(0);
    expect(calls).toContain('mount -t securityfs securityfs /sys/kernel/security');
    expect(calls).not.toContain('mount configure_networking');
  });

  it('knows the broker by the authority in the initrd, unless by a fingerprint', () => {
    const files = { 'etc/vouchsafe/ca.pem': 'a certificate' };
    const withAuthority = {
      files: {
        'proc/cmdline': asked,
        'scripts/functions': 'configure_networking() { :; }\nwait_for_udev() { :; }',
        ...files,
      },
    };
    expect(unlocks(boot('', withAuthority).calls)[0]).toContain('--ca /etc/vouchsafe/ca.pem');
    const both = { files: { ...withAuthority.files, 'proc/cmdline': `${asked} vouchsafe.fingerprint=9b1e` } };
    expect(unlocks(boot('', both).calls)[0]).not.toContain('--ca');
  });

  it.each([
    ['vouchsafe.disk=/dev/vda vouchsafe.binding=2f0c', 'the command line names no key'],
    ['vouchsafe.disk=/dev/vda vouchsafe.key= vouchsafe.binding=2f0c', 'the command line names no key'],
    ['vouchsafe.disk=/dev/vda vouchsafe.key=injected', 'the command line names no binding'],
    [
      'vouchsafe.disk=/dev/vda vouchsafe.key=injected vouchsafe.binding=',
      'the command line names no binding',
    ],
  ])('with %s it refuses: %s', (commandLine, reason) => {
    const { signal, calls, output } = boot(`quiet ${commandLine}`, { environment: { quiet: 'y' } });
    expect([signal, output]).toEqual(['SIGKILL', `vouchsafe: ${reason}\n`]);
    expect(unlocks(calls)).toEqual([]);
    expect(calls.slice(-2)).toEqual(['sync', 'poweroff -f']);
  });

  it('switches the machine off when the disk stays locked, and tries again where that fails', () => {
    const { signal, calls, output } = boot(asked, { programs: { node: 'exit 1' }, attempts: 2 });
    expect([signal, output]).toEqual(['SIGKILL', 'vouchsafe: the root disk stays locked\n']);
    const end = ['poweroff -f', 'sleep 1', 'poweroff -f', 'sleep 1', 'poweroff -f'];
    expect(calls.filter((call) => /^(poweroff|sleep)/.test(call))).toEqual(end);
  });

  it('switches the machine off where what it calls cuts it short', () => {
    const files = {
      'proc/cmdline': asked,
      'scripts/functions': 'configure_networking() { . /nowhere/net-eth0.conf; }',
    };
    const { signal, calls, output } = boot('', { files });
    expect([signal, unlocks(calls)]).toEqual(['SIGKILL', []]);
    expect(output).toContain('vouchsafe: the script was cut short\n');
    expect(calls.at(-1)).toBe('poweroff -f');
  });

  it('has the machine halted, not handed to a shell, where what comes next fails; unless panic= says what', () => {
    expect(boot(asked).read('conf/param.conf')).toBe('panic=0\n');
    expect(boot(asked, { environment: { panic: '-1' } }).read('conf/param.conf')).toBe('');
    const refused = boot(asked, { programs: { node: 'exit 1' } });
    expect(refused.read('conf/param.conf')).toBe('panic=0\n');
  });

  it('does nothing where no disk is named', () => {
    const { status, calls, read } = boot('vouchsafe.key=injected vouchsafe.binding=2f0c');
    expect([status, unlocks(calls), read('conf/param.conf')]).toEqual([0, [], '']);
    expect(calls.every((call) => call.startsWith('cat '))).toBe(true);
  });

  it('needs no other script before it', () => {
    const { status, calls, output } = boot(asked, { argument: 'prereqs' });
    expect([status, calls, output]).toEqual([0, [], '\n']);
  });
});

describe('the hook that fills the initrd', () => {
  const functions = ['copy_exec', 'copy_file', 'manual_add_modules']
    .map((name) => `${name}() { record ${name} "$@"; }`)
    .join('\n');

  function fill(more: Partial<Surroundings> & { readonly without?: string } = {}) {
    const { programs, files, without, ...rest } = more;
    const present = <T>(entries: Readonly<Record<string, T>>) =>
      Object.fromEntries(Object.entries(entries).filter(([name]) => name !== without));
    return runScript('hook', {
      programs: present({ record: '', node: '', cryptsetup: '', ...programs }),
      files: present({
        'usr/share/initramfs-tools/hook-functions': functions,
        'usr/lib/vouchsafe/vouchsafe.mjs': 'the guest part',
        ...files,
      }),
      ...rest,
    });
  }

  it('takes Node, cryptsetup, the guest part and the drivers along', () => {
    const { status, calls } = fill();
    expect(status).toBe(0);
    expect(calls.slice(0, 3)).toEqual([
      'record copy_exec /bin/node /bin/node',
      'record copy_exec /bin/cryptsetup /sbin/cryptsetup',
      'record copy_file script /usr/lib/vouchsafe/vouchsafe.mjs /lib/vouchsafe/vouchsafe.mjs',
    ]);
    expect(calls[3]).toMatch(/^record manual_add_modules (?=.*dm_crypt)(?=.*sev-guest)(?=.*efi_secret)/);
  });

  it('takes the broker’s authority along where there is one', () => {
    const { calls } = fill({ files: { 'etc/vouchsafe/ca.pem': 'a certificate' } });
    expect(calls).toContain('record copy_file certificate /etc/vouchsafe/ca.pem /etc/vouchsafe/ca.pem');
  });

  it.each([
    ['node', 'vouchsafe: node is not installed'],
    ['cryptsetup', 'vouchsafe: cryptsetup is not installed (package cryptsetup-bin)'],
    [
      'usr/lib/vouchsafe/vouchsafe.mjs',
      'vouchsafe: /usr/lib/vouchsafe/vouchsafe.mjs is not there (npm run initrd-part)',
    ],
  ])('without %s stops the build of the initrd and says so', (without, reason) => {
    const { status, calls, output } = fill({ without });
    expect([status, calls, output]).toEqual([1, [], `${reason}\n`]);
  });

  it('stops the build of the initrd where something fails to be copied', () => {
    const { status, calls } = fill({ programs: { record: 'case $2 in */bin/cryptsetup) exit 1 ;; esac' } });
    expect([status, calls.length]).toEqual([1, 2]);
  });

  it('needs no other hook before it', () => {
    expect(fill({ argument: 'prereqs' })).toMatchObject({ status: 0, calls: [], output: '\n' });
  });
});
