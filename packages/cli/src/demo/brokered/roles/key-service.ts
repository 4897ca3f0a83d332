import { type EndorsementSource, openDevelopmentAuthority, serveKds } from '@vouchsafe/kds';
import { UnavailableError } from '@vouchsafe/sev';
import { playRole } from '../../role-process.js';
import type { KeyServiceReady } from '../../roles/key-service.js';
import type { ProcessorReady } from '../../roles/processor.js';
import { markers } from '../machine.js';

/** The chip maker's key service of a demo that counts how often it is asked. */
export interface CountedKeyServiceSettings {
  readonly folder: string;
  readonly chip: ProcessorReady;
}

playRole<CountedKeyServiceSettings>(async ({ settings: { folder, chip }, narrate, ready }) => {
  const authority = await openDevelopmentAuthority({ folder, generation: 'milan' });
  const { snp } = authority;
  if (snp === undefined) throw new UnavailableError('authority', 'it has none of SEV-SNP');
  await snp.endorseVcek(chip.vcek);
  await narrate.step('key service', `the chip was made, and its VCEK is signed under “${snp.root.name}”`);

  let answered = 0;
  const tell = (what: string) => {
    answered += 1;
    return narrate.step('key service', `${markers.keyServiceAnswers} ${answered}: ${what}`);
  };
  const counted: EndorsementSource = {
    async findCek(chipId) {
      await tell('a CEK');
      return authority.findCek(chipId);
    },
    async findAskArk(generation) {
      await tell(`ASK and ARK of ${generation}`);
      return authority.findAskArk(generation);
    },
    async findEndorsement(request) {
      const { what } = request;
      await tell(`${what}${what === 'crl' || what === 'chain' ? ` for ${request.kind}s` : ''}`);
      return authority.findEndorsement?.(request);
    },
  };
  const server = await serveKds(counted, { host: '127.0.0.1', port: 0 });
  ready({ address: server.url, ark: snp.ark } satisfies KeyServiceReady);
});
