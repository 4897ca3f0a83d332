import type { BootDisk } from './machine.js';
import { type BootPiece, openPiece, piece } from './pieces.js';

export interface DiskSurroundings {
  readonly mode: 'sev' | 'seves' | 'snp';
  /** Of the command line. */
  readonly parameters: ReadonlyMap<string, string>;
  /** The command line is measured. */
  readonly isMeasured: boolean;
  /** Files of the initrd. */
  readonly paths: readonly string[];
}

/** The disk, what tells it from others, its key, and who gives that. */
export function examineDisk(disk: BootDisk, surroundings: DiskSurroundings): BootPiece[] {
  if (disk.kind === 'none') return [piece('disk', 'absent', 'all that runs is in the initrd')];
  if (disk.kind === 'plain') return [plainDisk(surroundings)];
  if (disk.failed.length > 0) {
    return [
      openPiece(
        'disk',
        `its header does not pass ${disk.failed.join(', ')}`,
        'the host reads and changes what the machine keeps there',
        'make it anew with `vouchsafe disk create`, and ask who could write to it',
      ),
    ];
  }
  return [
    piece('disk', 'encrypted', 'LUKS2, AES-XTS; that an older image of it was put back, nothing notices'),
    bindingPiece(disk.binding, surroundings),
    ...keyPieces(disk.key, surroundings),
  ];
}

const verityParameters = ['roothash', 'systemd.verity_root_hash', 'dm-verity.root_hash', 'dm-mod.create'];

function plainDisk({ parameters, isMeasured }: DiskSurroundings): BootPiece {
  const found = verityParameters.find((name) => parameters.has(name));
  if (found !== undefined && isMeasured)
    return piece(
      'disk',
      'measured',
      `dm-verity: ${found} is on the measured command line; the host can read it`,
    );
  return openPiece(
    'disk',
    found === undefined
      ? 'it is not encrypted, and no root hash is measured'
      : 'its root hash is not measured',
    'the host reads the root file system, and puts programs of its own there',
    'encrypt it (`vouchsafe disk create --content`), or measure a dm-verity root hash',
  );
}

function bindingPiece(binding: string, { parameters, isMeasured }: DiskSurroundings): BootPiece {
  const given = parameters.get('vouchsafe.binding');
  if (given?.toLowerCase() === binding && isMeasured)
    return piece('disk-binding', 'measured', 'its binding is on the measured command line');
  return openPiece(
    'disk-binding',
    given === undefined
      ? 'the command line names no binding'
      : isMeasured
        ? 'the binding on the command line is another volume’s'
        : 'the binding on the command line is not measured',
    'the host offers another volume that the same key opens, or one with an older volume key',
    'put vouchsafe.binding=… on the measured command line, as `disk create` printed it',
  );
}

/** Where Debian's cryptsetup-initramfs, dracut and others put key files. */
const keyFiles =
  /^(?:\.\/)?(?:cryptroot\/keyfiles\/|crypto_keyfile\.bin$|etc\/(?:keys|luks|cryptsetup-keys\.d)\/.)|\.(?:key|keyfile|luks)$/;

function keyPieces(
  stated: 'injected' | 'broker' | 'typed' | undefined,
  surroundings: DiskSurroundings,
): BootPiece[] {
  const { mode, parameters, paths } = surroundings;
  const file = paths.find((path) => keyFiles.test(path));
  if (file !== undefined) {
    return [
      openPiece(
        'disk-key',
        `the initrd holds ${file}`,
        'an initrd is measured and not encrypted: the host takes the key out of the file and reads the disk',
        'have the key injected or released to the attested machine, and leave it out of the initrd',
      ),
    ];
  }
  const named = parameters.get('vouchsafe.key');
  const source =
    named === undefined
      ? stated
      : named.startsWith('kbs:')
        ? 'broker'
        : named.startsWith('injected')
          ? 'injected'
          : undefined;
  if (source === 'broker') return [brokerKey(named), brokerPiece(surroundings)];
  if (source === 'injected' && mode !== 'snp')
    return [piece('disk-key', 'gated', 'injected at launch, after the owner has seen the measurement')];
  if (source === 'injected') {
    return [
      openPiece(
        'disk-key',
        'SEV-SNP has no injection by the firmware: what lies in the secret area comes from the host',
        'the host gives a key of its own, to a disk of its own',
        'have the initrd attest: vouchsafe.key=kbs:///…',
      ),
    ];
  }
  return [
    openPiece(
      'disk-key',
      source === 'typed' ? 'it is typed on the console' : 'nothing says where it comes from',
      'the console is the host’s: it reads what is typed there, in whatever machine asks for it',
      'name the source on the measured command line: vouchsafe.key=kbs:///… or vouchsafe.key=injected',
    ),
  ];
}

const brokerKey = (named: string | undefined) =>
  piece('disk-key', 'gated', `${named ?? 'a secret of a broker'}, released to the attested machine`);

function brokerPiece({ parameters, isMeasured, paths }: DiskSurroundings): BootPiece {
  const address = parameters.get('vouchsafe.broker');
  const known = parameters.has('vouchsafe.fingerprint')
    ? 'its certificate’s fingerprint is on the measured command line'
    : paths.some((path) => /^(?:\.\/)?etc\/vouchsafe\/ca\.pem$/.test(path))
      ? 'its authority’s certificate is in the measured initrd'
      : undefined;
  if (isMeasured && known !== undefined && address?.startsWith('https://') === true)
    return piece('broker', 'measured', `${address}; ${known}`);
  return openPiece(
    'broker',
    address === undefined
      ? 'the command line names none'
      : known === undefined
        ? 'nothing measured tells it from another server'
        : 'what names it is not measured',
    'the host answers in its place, with a key that it knows: what the machine writes then is the host’s to read',
    'put vouchsafe.broker=https://… and vouchsafe.fingerprint=… on the measured command line',
  );
}
