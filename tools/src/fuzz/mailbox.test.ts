import { createSoftwareMachine, HostFault, manufactureChip } from '@vouchsafe/firmware';
import * as sev from '@vouchsafe/sev';
import { afterAll, describe, expect, it } from 'vitest';
import { structuresOf } from '../exports.js';
import { mutatedInputs, timeoutMs } from './amount.js';
import { mutate, SeededRandom } from './mutate.js';
import { acceptedBytes } from './seeds/structures.js';

const { sevCommands, snpCommands, statusName } = sev;
const bufferAddress = 0x1000;
const memorySize = 2 ** 21;
const chip = manufactureChip({ random: sev.systemRandom });
const switchOn = () => createSoftwareMachine({ chip, random: sev.systemRandom, memory: memorySize });
let machine = switchOn();

afterAll(() => machine.close());

/** Puts a buffer into memory. A command before may have given that page away: then the machine is switched off and on. */
async function place(buffer: Uint8Array): Promise<void> {
  try {
    await machine.host.memory.write(bufferAddress, buffer);
  } catch (error) {
    if (!(error instanceof sev.InvalidArgumentError || error instanceof HostFault)) throw error;
    await machine.close();
    machine = switchOn();
    await machine.host.memory.write(bufferAddress, buffer);
  }
}

/** Command buffers as their declarations want them, pointing into memory and naming the first guests. */
function seeds(): Uint8Array[] {
  const buffers = structuresOf(sev).filter(([name]) => name.endsWith('Buffer'));
  return buffers.map(([, structure]) => {
    const bytes = acceptedBytes(structure);
    const view = new DataView(bytes.buffer);
    for (const [name, { offset, size }] of Object.entries(structure.fields)) {
      if (/address$/i.test(name) && size === 8) view.setBigUint64(offset, 0x10_0000n, true);
      else if (/length$/i.test(name) && size === 4) view.setUint32(offset, 0x1000, true);
      else if (/^(?:handle|asid)$/.test(name) && size === 4) view.setUint32(offset, 1, true);
    }
    return bytes;
  });
}

describe('the mailbox of the software processor', () => {
  it(
    `answers ${mutatedInputs} mutated commands with a status code each`,
    { timeout: timeoutMs },
    async () => {
      const random = new SeededRandom(4);
      const commands = [...Object.values(sevCommands), ...Object.values(snpCommands)];
      const buffers = seeds();
      const answers = new Map<string, number>();
      for (let i = 0; i < mutatedInputs; i++) {
        const buffer = mutate(buffers, random).subarray(0, 4096);
        const command = random.below(20) === 0 ? random.below(0x1_0000) : random.pick(commands);
        const address = random.below(50) === 0 ? random.below(2 * memorySize) : bufferAddress;
        await place(buffer);
        const status = await machine.host.submit(command, address);
        const name = statusName(status) ?? `unknown status ${status}`;
        answers.set(name, (answers.get(name) ?? 0) + 1);
      }
      expect([...answers.keys()].filter((name) => name.startsWith('unknown'))).toEqual([]);
      expect(answers.get('SUCCESS')).toBeGreaterThan(0);
      expect(answers.size, 'kinds of answer').toBeGreaterThan(8);
    },
  );
});
