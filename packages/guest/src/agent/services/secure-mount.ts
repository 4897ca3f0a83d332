import { execFile } from 'node:child_process';
import { isAbsolute } from 'node:path';
import { promisify } from 'node:util';
import { InvalidArgumentError, type Secret, UnavailableError } from '@vouchsafe/sev';
import { unlockLuks } from '../../disk/unlock.js';
import { UnimplementedError } from '../unimplemented.js';

export interface SecureMountRequest {
  readonly volumeType: string;
  readonly options: Readonly<Record<string, string>>;
  readonly flags: readonly string[];
  readonly mountPoint: string;
}

/** What changes the machine. Tests pass their own. */
export interface MountCommands {
  /** Opens a LUKS2 volume as `/dev/mapper/NAME`, where its header does not let the host in. */
  unlock(volume: string, key: Secret, name: string): Promise<unknown>;
  mount(device: string, mountPoint: string, fileSystem: string, flags: readonly string[]): Promise<void>;
}

/** Where keys of volumes come from. */
interface VolumeKeys {
  resource(path: string): Promise<Secret>;
  unseal(sealed: string): Promise<Secret>;
}

const known = new Set([
  ...['devicePath', 'deviceId', 'sourceType', 'targetType', 'key', 'encryptionType'],
  ...['filesystemType', 'mkfsOpts', 'dataIntegrity', 'mapperName'],
]);

/**
 * Opens an encrypted volume that exists and mounts it. What would make a new volume is not done: the host chooses the
 * device, and everything on it would be lost. The host writes the header, too: it is appraised before the key is tried. No
 * option of Confidential Containers says which volume it has to be, so another one of the same key’s is not told apart.
 * @throws UnimplementedError for volumes and options that this agent does not do, InvalidArgumentError for wrong ones
 * @throws RefusedError for a header that lets the host in (`diskChecks`)
 * @throws WrongDiskKeyError, UnavailableError of cryptsetup and mount; whatever the source of the key says
 */
export async function secureMount(
  { volumeType, options, flags, mountPoint }: SecureMountRequest,
  keys: VolumeKeys,
  commands: MountCommands = systemCommands,
): Promise<void> {
  if (volumeType !== 'block-device')
    throw new UnimplementedError('this agent mounts volumes of the type block-device only');
  const stranger = Object.keys(options).find((name) => !known.has(name));
  if (stranger !== undefined)
    throw new InvalidArgumentError('options', `there is no option ${JSON.stringify(stranger.slice(0, 64))}`);
  const option = (name: string, usual: string) => options[name] ?? usual;
  if (option('encryptionType', 'luks2') !== 'luks2')
    throw new UnimplementedError('this agent opens volumes with the encryptionType luks2 only');
  const { key } = options;
  if (key === undefined || option('sourceType', 'empty') !== 'encrypted') {
    throw new UnimplementedError('this agent opens encrypted volumes and makes none', {
      hint: 'make the volume where its owner is (vouchsafe disk create), and give sourceType encrypted and its key',
    });
  }
  const targetType = option('targetType', 'fileSystem');
  if (targetType !== 'fileSystem' && targetType !== 'device')
    throw new InvalidArgumentError('targetType', 'expected device or fileSystem');
  if (targetType === 'fileSystem') requireMountPoint(mountPoint);
  const fileSystem = option('filesystemType', 'ext4');
  if (!/^[a-z][a-z0-9]{0,15}$/.test(fileSystem))
    throw new InvalidArgumentError('filesystemType', 'expected the name of a file system');
  for (const flag of flags)
    if (!/^[A-Za-z0-9_=.:-]{1,64}$/.test(flag))
      throw new InvalidArgumentError('flags', 'expected mount options');

  const volume = deviceOf(options);
  const name = option('mapperName', `vouchsafe-${volume.replaceAll(/[^A-Za-z0-9]+/g, '-').slice(-40)}`);
  const secret = await keyOf(key, keys);
  await commands.unlock(volume, secret, name).finally(() => secret.zero());
  if (targetType === 'fileSystem') await commands.mount(`/dev/mapper/${name}`, mountPoint, fileSystem, flags);
}

/** `deviceId` wins over `devicePath`, as it does with Confidential Containers. */
function deviceOf({ deviceId, devicePath }: Readonly<Record<string, string>>): string {
  if (deviceId !== undefined) {
    if (!/^\d{1,4}:\d{1,7}$/.test(deviceId))
      throw new InvalidArgumentError('deviceId', 'expected MAJOR:MINOR');
    return `/dev/block/${deviceId}`;
  }
  if (devicePath === undefined) throw new InvalidArgumentError('options', 'give devicePath or deviceId');
  if (!isAbsolute(devicePath)) throw new InvalidArgumentError('devicePath', 'expected an absolute path');
  return devicePath;
}

function keyOf(key: string, keys: VolumeKeys): Promise<Secret> {
  if (key.startsWith('sealed.')) return keys.unseal(key);
  if (key.startsWith('kbs://')) return keys.resource(key);
  throw new UnimplementedError(
    'this agent takes keys of volumes from the key broker only: kbs:///… or sealed.…',
  );
}

function requireMountPoint(mountPoint: string): void {
  if (!isAbsolute(mountPoint) || mountPoint.includes('\0'))
    throw new InvalidArgumentError('mount point', 'expected an absolute path');
}

/** cryptsetup and mount(8). */
export const systemCommands: MountCommands = {
  unlock: (volume, key, name) => unlockLuks({ volume, key, name }),
  async mount(device, mountPoint, fileSystem, flags) {
    const options = flags.length === 0 ? [] : ['-o', flags.join(',')];
    try {
      await promisify(execFile)('mount', ['-t', fileSystem, ...options, '--', device, mountPoint]);
    } catch (cause) {
      throw new UnavailableError('mount', `${device} could not be mounted at ${mountPoint}`, { cause });
    }
  },
};
