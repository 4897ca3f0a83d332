import type { GuestView } from '@vouchsafe/firmware/guest-view';
import {
  deletedEntry,
  type Guid,
  isZero,
  type LaunchArea,
  MalformedError,
  parseFirmwareFooter,
  parseSecretTable,
  readSecretTableLength,
  Secret,
  type SecretTableEntry,
  secretTableHead,
  UnavailableError,
} from '@vouchsafe/sev';
import { largestSecretCount, type SecretStore } from './secret-store.js';

const endOfFirmware = 0x1_0000_0000;

/** The footer table and what it points to lie in the last page of every image that is known. */
const footerWindow = 0x1000;

/** What the kernel's secrets driver needs of a view. */
export type GuestMemory = Pick<GuestView, 'readPrivate' | 'writePrivate'>;

/**
 * Where the firmware has secrets put, read from the footer of the image at the guest's own reset vector.
 * @throws MalformedError when the footer contradicts itself
 * @throws UnavailableError when the firmware reserves no room for secrets
 */
export async function findSecretArea(memory: GuestMemory): Promise<LaunchArea> {
  const lastPage = await memory.readPrivate(endOfFirmware - footerWindow, footerWindow);
  const { secretArea } = parseFirmwareFooter(lastPage);
  if (secretArea === undefined) {
    throw new UnavailableError('secret area', 'this firmware reserves no room for injected secrets', {
      hint: 'boot a firmware whose footer has a secret block: the AmdSev build of OVMF, or Vouchsafe’s own',
    });
  }
  return secretArea;
}

/**
 * The secrets in the guest's own memory, found through its firmware's footer.
 * @throws SecretTableAbsentError when nothing was injected
 * @throws MalformedError when the footer or the table contradicts itself
 * @throws UnavailableError when the firmware reserves no room for secrets
 */
export async function openMemorySecretStore(memory: GuestMemory): Promise<SecretStore> {
  const area = await findSecretArea(memory);
  const entries = await readEntries(memory, area);
  const find = (guid: Guid): SecretTableEntry => {
    const entry = entries.get(guid.toLowerCase());
    if (entry === undefined)
      throw new UnavailableError('secret', `there is none of the name ${JSON.stringify(guid)}`);
    return entry;
  };
  return {
    async list() {
      return [...entries.keys()];
    },
    async read(guid) {
      const { offset, size } = find(guid);
      const entry = await memory.readPrivate(area.base + offset, size);
      const secret = Secret.copyOf(entry.subarray(entryHeadSize));
      entry.fill(0);
      return secret;
    },
    async unlink(guid) {
      const { offset, size } = find(guid);
      await memory.writePrivate(area.base + offset, deletedEntry({ size }));
      const left = await memory.readPrivate(area.base + offset, size);
      const wiped = isZero(left.subarray(entryHeadSize));
      left.fill(0);
      if (!wiped) throw new UnavailableError('secret', `${guid} could not be wiped: memory kept it`);
      entries.delete(guid.toLowerCase());
    },
  };
}

/** The head of an entry is as long as the table's: a GUID and a length. */
const entryHeadSize = secretTableHead.size;

/** Places of the entries by name; the copies of their data that the parser makes are zeroed at once. */
async function readEntries(memory: GuestMemory, area: LaunchArea): Promise<Map<Guid, SecretTableEntry>> {
  const head = await memory.readPrivate(area.base, Math.min(area.size, secretTableHead.size));
  const length = readSecretTableLength(head);
  if (length > area.size) {
    throw new MalformedError({
      structure: secretTableHead.name,
      field: 'totalLength',
      offset: secretTableHead.offsetOf('totalLength'),
      expected: `at most the ${area.size} bytes of the secret area`,
      found: `${length} bytes`,
    });
  }
  const table = await memory.readPrivate(area.base, length);
  try {
    const entries = parseSecretTable(table);
    for (const { data } of entries) data.zero();
    return new Map(entries.slice(0, largestSecretCount).map((entry) => [entry.guid, entry]));
  } finally {
    table.fill(0);
  }
}
