import { openDevelopmentAuthority, serveKds } from '@vouchsafe/kds';
import { playRole } from '../role-process.js';
import type { ProcessorReady } from './processor.js';

/** The chip maker's key service: endorses the chip when it is made, and serves the endorsement to whoever asks. */
export interface KeyServiceSettings {
  readonly folder: string;
  readonly chip: ProcessorReady;
}

export interface KeyServiceReady {
  readonly address: string;
  readonly ark: Uint8Array;
}

playRole<KeyServiceSettings>(async ({ settings: { folder, chip }, narrate, ready }) => {
  const authority = await openDevelopmentAuthority({ folder, generation: 'milan' });
  await authority.endorse(chip.chipId, chip.unsignedCek);
  await narrate.step(
    'key service',
    `the chip was made, and its endorsement key (CEK) is signed under “${authority.root.name}”`,
  );
  const server = await serveKds(authority, { host: '127.0.0.1', port: 0 });
  ready({ address: server.url, ark: authority.ark } satisfies KeyServiceReady);
});
