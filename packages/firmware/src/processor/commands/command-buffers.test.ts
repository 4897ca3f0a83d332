import {
  getIdBuffer,
  type SevCommandName,
  sevCommandName,
  sevCommands,
  snpCommandName,
} from '@vouchsafe/sev';
import { beforeAll, describe, expect, it } from 'vitest';
import { machineProfiles } from '../../profiles.js';
import { places, statusOf } from '../../testing/hypervisor.js';
import {
  type Column,
  commandBuffer,
  copyOfChip,
  makeKeys,
  memory,
  processorIn,
  random,
  startInactive,
} from '../../testing/sev-commands.js';
import { Processor } from '../processor.js';
import { stateTable } from './state-table.js';

/** What a command's buffer must be like, whatever the command does; and which names and numbers there are. */
beforeAll(makeKeys);

const names = Object.keys(sevCommands) as SevCommandName[];

describe('handles', () => {
  const named = names.filter(
    (name) =>
      sevCommands[name] >= 0x20 &&
      sevCommands[name] < 0x70 &&
      !name.endsWith('_START') &&
      name !== 'GUEST_STATUS',
  );
  it.each([...named, 'SEND_START' as const])(
    '%s with a handle that nobody has is INVALID_GUEST',
    async (name) => {
      const { processor } = await processorIn('LUPDATE', { active: false });
      const buffer = (await commandBuffer(name, processor))!;
      const offset = name === 'ACTIVATE_EX' ? 4 : 0;
      for (const handle of [0, 2, 0xffff_ffff]) {
        new DataView(buffer.buffer).setUint32(offset, handle, true);
        memory.write(places.buffer, buffer);
        expect(statusOf(await processor.submit(sevCommands[name], places.buffer))).toBe('INVALID_GUEST');
      }
    },
  );
});

describe('ids', () => {
  it('that the API does not have are INVALID_COMMAND in every state', async () => {
    for (const column of ['UNINIT', 'INIT', 'RUNNING'] as const) {
      const { processor } = await processorIn(column, { active: true });
      for (let id = 0; id < 0x400; id++) {
        if (sevCommandName(id) === undefined && snpCommandName(id) === undefined)
          expect(statusOf(await processor.submit(id, 0))).toBe('INVALID_COMMAND');
      }
    }
  });

  it('that only newer firmware has are INVALID_COMMAND before it', async () => {
    const profile = { ...machineProfiles.naples, api: { apiMajor: 0, apiMinor: 15 } };
    const processor = new Processor({ profile, chip: copyOfChip(), random, memory });
    memory.write(places.buffer, getIdBuffer.build({ address: BigInt(places.image), length: 64 }));
    expect(statusOf(await processor.submit(sevCommands.GET_ID, places.buffer))).toBe('INVALID_COMMAND');
    expect(statusOf(await processor.submit(sevCommands.DOWNLOAD_FIRMWARE, places.buffer))).toBe(
      'UNSUPPORTED',
    );
  });
});

describe('command buffers', () => {
  const withBuffer = names.filter(
    (name) =>
      ![
        'SHUTDOWN',
        'PLATFORM_RESET',
        'PEK_GEN',
        'PDH_GEN',
        'DF_FLUSH',
        'NOP',
        'RING_BUFFER',
        'DOWNLOAD_FIRMWARE',
        'SWAP_OUT',
        'SWAP_IN',
      ].includes(name),
  );
  /** The first state that a command is not refused for. */
  const legal = (name: SevCommandName): Column => {
    const { guest, platform } = stateTable[name];
    return (guest ?? platform)[0] as Column;
  };

  it.each(withBuffer)('%s beyond the end of memory is INVALID_ADDRESS', async (name) => {
    const { processor } = await processorIn(legal(name), { active: !startInactive.includes(name) });
    for (const address of [memory.size - 3, memory.size, 2 ** 40]) {
      expect(statusOf(await processor.submit(sevCommands[name], address))).toBe('INVALID_ADDRESS');
    }
  });

  // INIT and INIT_EX are what sets the region up.
  const afterInit = withBuffer.filter((name) => name !== 'INIT' && name !== 'INIT_EX');

  it.each(afterInit)('%s in the trusted memory region is INVALID_ADDRESS', async (name) => {
    const column = legal(name);
    const { processor } = await processorIn(column === 'UNINIT' ? 'INIT' : column, {
      active: !startInactive.includes(name),
    });
    for (const address of [places.trusted - 3, places.trusted, places.trusted + 0x10_0000 - 1]) {
      expect(statusOf(await processor.submit(sevCommands[name], address))).toBe('INVALID_ADDRESS');
    }
  });

  const reservedAt: Partial<Record<SevCommandName, readonly number[]>> = {
    INIT: [4],
    INIT_EX: [20],
    PEK_CERT_IMPORT: [12],
    PDH_CERT_EXPORT: [12],
    LAUNCH_START: [20],
    LAUNCH_UPDATE_DATA: [4],
    LAUNCH_UPDATE_VMSA: [4],
    LAUNCH_MEASURE: [4],
    LAUNCH_SECRET: [4, 20, 36],
    ATTESTATION: [4],
    DBG_DECRYPT: [4],
    DBG_ENCRYPT: [4],
    SEND_START: [20, 36, 52],
    RECEIVE_START: [20],
  };
  const reserved = Object.entries(reservedAt).flatMap(([name, offsets]) =>
    offsets.map((offset) => [name as SevCommandName, offset] as const),
  );
  it.each(reserved)(
    '%s with reserved bytes at %i that are not zero is INVALID_PARAM',
    async (name, offset) => {
      const { processor } = await processorIn(legal(name), { active: true });
      const buffer = (await commandBuffer(name, processor))!;
      for (const at of [offset, offset + 3]) {
        const bad = buffer.slice();
        bad[at] = 1;
        memory.write(places.buffer, bad);
        expect(statusOf(await processor.submit(sevCommands[name], places.buffer))).toBe('INVALID_PARAM');
      }
    },
  );
});
