import { type DevelopmentAuthority, openDevelopmentAuthority, serveKds } from '@vouchsafe/kds';
import { UnavailableError } from '@vouchsafe/sev';
import { playRole } from '../role-process.js';
import type { ProcessorReady } from './processor.js';

/** The chip maker's key service: endorses the chip when it is made, and serves the endorsement to whoever asks. */
export interface KeyServiceSettings {
  readonly folder: string;
  readonly chip: ProcessorReady;
  /** The key of the chip that the story is about: SEV's or SEV-SNP's. */
  readonly endorses: 'CEK' | 'VCEK';
}

export interface KeyServiceReady {
  readonly address: string;
  /** Certificate of the root, in the form of what was endorsed. */
  readonly ark: Uint8Array;
}

playRole<KeyServiceSettings>(async ({ settings: { folder, chip, endorses }, narrate, ready }) => {
  const authority = await openDevelopmentAuthority({ folder, generation: 'milan' });
  const root = endorses === 'CEK' ? await endorseCek(authority, chip) : await endorseVcek(authority, chip);
  const key = endorses === 'CEK' ? 'endorsement key (CEK)' : 'endorsement key for its TCB version (VCEK)';
  await narrate.step('key service', `the chip was made, and its ${key} is signed under “${root.name}”`);
  const server = await serveKds(authority, { host: '127.0.0.1', port: 0 });
  ready({ address: server.url, ark: root.ark } satisfies KeyServiceReady);
});

async function endorseCek(authority: DevelopmentAuthority, { cek }: ProcessorReady) {
  await authority.endorse(cek.chipId, cek.unsignedCek);
  return { name: authority.root.name, ark: authority.ark };
}

async function endorseVcek({ snp }: DevelopmentAuthority, { vcek }: ProcessorReady) {
  if (snp === undefined) throw new UnavailableError('authority', 'it has none of SEV-SNP');
  await snp.endorseVcek(vcek);
  return { name: snp.root.name, ark: snp.ark };
}
