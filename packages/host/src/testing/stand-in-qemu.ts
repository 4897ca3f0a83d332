import type { HostMachine } from '@vouchsafe/firmware/mailbox';
import { fromBase64, parseIdAuthentication } from '@vouchsafe/sev';
import { deferred } from '../deferred.js';
import type { SnpLaunchConfiguration } from '../launch/launcher.js';
import { FirmwareCommandError } from '../platform/firmware-error.js';
import { readLaunchFiles } from '../qemu/launch-files.js';
import type { QemuProcess, StartQemu } from '../qemu/qemu-process.js';
import { qemuStatusText } from '../qmp/firmware-texts.js';
import { serveVirtualMachine } from '../qmp/serve-vm.js';

/**
 * Takes QEMU's place in tests of the QEMU launcher: reads the command line as QEMU would, and has a software machine do
 * what KVM and the secure processor do. Says what QEMU says when the launch fails, and ends.
 */
export function standInQemu(host: HostMachine): StartQemu {
  return async (commandLine) => {
    const ended = deferred<{ errorText: string }>();
    let kill = () => ended.resolve({ errorText: 'terminating on signal 9' });
    const answer: QemuProcess = { ended: ended.promise, kill: () => kill() };
    try {
      const configuration = await configurationIn(commandLine, host);
      const socketPath = optionList(argumentAfter(commandLine, '-qmp')!).first.replace(/^unix:/, '');
      const served = await serveVirtualMachine({
        machine: host,
        socketPath,
        ...(configuration === undefined ? {} : { configuration }),
      });
      kill = () => void served.close();
      void served.finished.then(() => ended.resolve({ errorText: '' }));
    } catch (error) {
      ended.resolve({ errorText: lastWords(error) });
    }
    return answer;
  };
}

function lastWords(error: unknown): string {
  if (!(error instanceof FirmwareCommandError)) return String(error);
  const { command, status } = error;
  return `qemu-system-x86_64: sev_launch_start: ${command} ret=1 fw_error=${status} '${qemuStatusText(status)}'`;
}

async function configurationIn(commandLine: readonly string[], host: HostMachine) {
  const machine = optionList(argumentAfter(commandLine, '-machine')!);
  if (machine.first === 'none') return undefined;
  const id = machine.values.get('confidential-guest-support');
  const sev = optionList(argumentAfter(commandLine, '-object')!);
  const isSnp = sev.first === 'sev-snp-guest';
  if ((!isSnp && sev.first !== 'sev-guest') || sev.values.get('id') !== id)
    throw new Error('no sev-guest object');
  if (Number(sev.values.get('cbitpos')) !== host.capabilities.cBitPosition) {
    throw new Error(
      `sev_kvm_init: cbitpos check failed, host '${host.capabilities.cBitPosition}' requested another`,
    );
  }
  if (!commandLine.includes('-S')) throw new Error('started without -S: nothing could be injected');
  const [godhCertificate, session] = [sev.values.get('dh-cert-file'), sev.values.get('session-file')];
  const [kernel, initrd, commandLineText] = ['-kernel', '-initrd', '-append'].map((name) =>
    argumentAfter(commandLine, name),
  );
  if ((kernel !== undefined) !== (sev.values.get('kernel-hashes') === 'on'))
    throw new Error('kernel not measured');
  const bios = argumentAfter(commandLine, '-bios');
  if (isSnp !== (bios !== undefined)) throw new Error('KVM_SET_USER_MEMORY_REGION2 failed');
  const common = await readLaunchFiles({
    policy: isSnp ? 0 : Number(sev.values.get('policy')),
    ...(godhCertificate === undefined || session === undefined
      ? {}
      : { channel: { godhCertificate, session } }),
    firmware: bios ?? optionList(argumentAfter(commandLine, '-drive')!).values.get('file')!,
    ...(kernel === undefined
      ? {}
      : {
          directBoot: {
            kernel,
            ...(initrd === undefined ? {} : { initrd }),
            ...(commandLineText === undefined ? {} : { commandLine: commandLineText }),
          },
        }),
    vcpus: Number(argumentAfter(commandLine, '-smp')),
    vcpuType: argumentAfter(commandLine, '-cpu')!,
    memory: 1024 * Number(argumentAfter(commandLine, '-m')!.replace(/K$/, '')),
  });
  return isSnp ? snpConfiguration(common, sev.values) : common;
}

/** What QEMU's sev-snp-guest object takes. */
function snpConfiguration(
  common: Awaited<ReturnType<typeof readLaunchFiles>>,
  values: ReadonlyMap<string, string>,
): SnpLaunchConfiguration {
  const bytes = (name: string) => {
    const text = values.get(name);
    return text === undefined ? undefined : fromBase64(text, name);
  };
  const [block, authentication] = [bytes('id-block'), bytes('id-auth')];
  const hasAuthor = authentication && parseIdAuthentication(authentication).author !== undefined;
  if ((values.get('author-key-enabled') === 'on') !== (hasAuthor ?? false)) throw new Error('author key');
  const [hostData, guestVisibleWorkarounds] = [bytes('host-data'), bytes('guest-visible-workarounds')];
  return {
    ...common,
    mode: 'snp',
    policy: BigInt(values.get('policy')!),
    guestFeatures: values.get('secure-tsc') === 'on' ? 0x201n : 1n,
    vcekDisabled: values.get('vcek-disabled') === 'on',
    ...(block === undefined || authentication === undefined ? {} : { idBlock: { block, authentication } }),
    ...(hostData === undefined ? {} : { hostData }),
    ...(guestVisibleWorkarounds === undefined ? {} : { guestVisibleWorkarounds }),
  };
}

function argumentAfter(commandLine: readonly string[], name: string): string | undefined {
  const at = commandLine.indexOf(name);
  return at < 0 ? undefined : commandLine[at + 1];
}

/** `first,name=value,…`, in which a doubled comma is one. */
export function optionList(text: string): { first: string; values: Map<string, string> } {
  const [first = '', ...rest] = text
    .replaceAll(',,', '\0')
    .split(',')
    .map((part) => part.replaceAll('\0', ','));
  const pairs = rest.map(
    (part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)] as const,
  );
  return { first, values: new Map(pairs) };
}
