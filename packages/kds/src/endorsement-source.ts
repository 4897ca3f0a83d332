import type { Generation } from '@vouchsafe/sev';
import type { EndorsementRequest } from './snp/endorsement-request.js';

/** Something that has endorsements to serve: a development authority, or a mirror of what AMD served. */
export interface EndorsementSource {
  /** The signed CEK (0x824 bytes) of a chip (64 bytes of GET_ID), if it is known. */
  findCek(chipId: Uint8Array): Promise<Uint8Array | undefined>;
  /** ASK‖ARK of a generation, if it is known. */
  findAskArk(generation: Generation): Promise<Uint8Array | undefined>;
  /** What AMD's service would send for SEV-SNP, if it is known. Left out by a source that has none of it. */
  findEndorsement?(request: EndorsementRequest): Promise<Uint8Array | undefined>;
}
