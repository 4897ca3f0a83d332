import { readFile } from 'node:fs/promises';
import {
  fromBase64,
  MalformedError,
  parseGuestPolicy,
  UnavailableError,
  type VmsaFpu,
  vcpuSignatureOf,
} from '@vouchsafe/sev';
import type { LaunchConfiguration } from '../launch/launcher.js';

/** A launch as it is given to QEMU: by the names of files. */
export interface LaunchFiles {
  readonly policy: number;
  /** Base64 text, as `sevctl session`, `vouchsafe session create` and libvirt have it: both or neither. */
  readonly channel?: { readonly godhCertificate: string; readonly session: string };
  readonly firmware: string;
  readonly directBoot?: { readonly kernel: string; readonly initrd?: string; readonly commandLine?: string };
  readonly vcpus?: number;
  /** Model name of QEMU's, or CPUID 1 EAX. Default: EPYC-Milan. */
  readonly vcpuType?: string | number;
  readonly vmsaFpu?: VmsaFpu;
  /** Bytes. */
  readonly memory?: number;
}

/**
 * Reads what a launch names. Whether SEV or SEV-ES is launched, the policy says.
 * @throws UnavailableError for a file that cannot be read; MalformedError for one that is not base64 where it must be
 */
export async function readLaunchFiles(files: LaunchFiles): Promise<LaunchConfiguration> {
  const {
    policy,
    channel,
    firmware,
    directBoot,
    vcpus = 1,
    vcpuType = 'EPYC-Milan',
    vmsaFpu,
    memory,
  } = files;
  return {
    mode: parseGuestPolicy(policy).encryptedState ? 'sev-es' : 'sev',
    policy,
    ...(channel === undefined
      ? {}
      : {
          channel: {
            godhCertificate: await readBase64(channel.godhCertificate),
            session: await readBase64(channel.session),
          },
        }),
    firmware: await read(firmware),
    ...(directBoot === undefined
      ? {}
      : {
          directBoot: {
            kernel: await read(directBoot.kernel),
            ...(directBoot.initrd === undefined ? {} : { initrd: await read(directBoot.initrd) }),
            ...(directBoot.commandLine === undefined ? {} : { commandLine: directBoot.commandLine }),
          },
        }),
    vcpus,
    vcpuSignature: typeof vcpuType === 'number' ? vcpuType : vcpuSignatureOf(vcpuType),
    ...(vmsaFpu === undefined ? {} : { vmsaFpu }),
    ...(memory === undefined ? {} : { memory }),
  };
}

async function read(path: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(path));
  } catch (cause) {
    throw new UnavailableError(path, `cannot be read (${(cause as NodeJS.ErrnoException).code})`, { cause });
  }
}

async function readBase64(path: string): Promise<Uint8Array> {
  const text = new TextDecoder().decode(await read(path));
  try {
    return fromBase64(text);
  } catch (cause) {
    throw new MalformedError(
      { structure: path, field: 'text', offset: 0, expected: 'base64', found: 'something else' },
      { hint: 'QEMU wants the base64 form: NAME_godh.b64, NAME_session.b64', cause },
    );
  }
}
