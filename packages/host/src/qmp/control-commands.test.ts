import { UnavailableError } from '@vouchsafe/sev';
import { expect, it } from 'vitest';
import { QmpRefusal } from './commands.js';
import { controlCommandsOf, emptyMachine } from './control-commands.js';

const version = { qemu: { major: 7, minor: 2, micro: 22 }, package: '' };

function cont(failure: Error): Promise<unknown> {
  const machine = { ...emptyMachine(), resume: () => Promise.reject(failure) };
  return controlCommandsOf(machine, version, () => undefined)['cont']!.run({});
}

it('a machine that cannot go on refuses cont with its reason', async () => {
  const failed = cont(new UnavailableError('guest memory', 'none is left'));
  await expect(failed).rejects.toBeInstanceOf(QmpRefusal);
  await expect(failed).rejects.toThrow('none is left');
});

it('a mistake of ours is no refusal', async () => {
  await expect(cont(new TypeError('ours'))).rejects.toBeInstanceOf(TypeError);
});
