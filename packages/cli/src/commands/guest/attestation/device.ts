import { existsSync } from 'node:fs';
import {
  type AttestationDevice,
  configfsTsmDevice,
  linuxSevGuestPath,
  linuxTsmFolder,
  sevGuestDevice,
  socketAttestationDevice,
} from '@vouchsafe/guest';
import { InvalidArgumentError, UnavailableError } from '@vouchsafe/sev';
import { parsed, withDefault } from '../../../frame/options.js';

/** Opens the device when it is needed. @throws UnavailableError when this machine has none */
type OpenDevice = () => AttestationDevice;

/** Where a command gets its reports. */
export const attestationDevice = withDefault(
  parsed<OpenDevice>(
    '--device <device>',
    'where reports come from: auto, configfs[:DIR], sev-guest[:PATH] or socket:PATH',
    readDevice,
  ),
  () => openFirst(),
  'auto',
);

/** Where a command gets its keys, which not every device has. */
export const keyDevice = withDefault(
  parsed<OpenDevice>(
    '--device <device>',
    'where keys come from: auto, sev-guest[:PATH] or socket:PATH',
    (given, name) => (given === 'auto' ? openSevGuest : readDevice(given, name)),
  ),
  () => openSevGuest(),
  'auto',
);

function readDevice(given: string, name: string): OpenDevice {
  const [kind = '', path] = /^([^:]*)(?::(.+))?$/s.exec(given)?.slice(1) ?? [];
  if (kind === 'auto' && path === undefined) return openFirst;
  if (kind === 'configfs') return () => configfsTsmDevice(path === undefined ? {} : { folder: path });
  if (kind === 'sev-guest') return () => sevGuestDevice(path === undefined ? {} : { path });
  if (kind === 'socket' && path !== undefined) return () => socketAttestationDevice({ path });
  throw new InvalidArgumentError(
    name,
    `expected auto, configfs[:DIR], sev-guest[:PATH] or socket:PATH, found ${JSON.stringify(given.slice(0, 60))}`,
  );
}

function openSevGuest(): AttestationDevice {
  if (existsSync(linuxSevGuestPath)) return sevGuestDevice();
  throw new UnavailableError('attestation device', `${linuxSevGuestPath} is not there`, {
    hint: 'inside a SEV-SNP guest: load the module sev-guest; elsewhere name a served device with --device',
  });
}

/** The kernel's folder before the driver's own device: it serves several users at once. */
function openFirst(): AttestationDevice {
  if (existsSync(linuxTsmFolder)) return configfsTsmDevice();
  if (existsSync(linuxSevGuestPath)) return sevGuestDevice();
  throw new UnavailableError(
    'attestation device',
    `neither ${linuxTsmFolder} nor ${linuxSevGuestPath} is there`,
    {
      hint: 'inside a SEV-SNP guest: mount configfs and load the module sev-guest; elsewhere name a served device with --device',
    },
  );
}
