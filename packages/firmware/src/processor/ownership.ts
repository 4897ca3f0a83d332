import {
  equalBytes,
  pekCertImportBuffer,
  pekCsrBuffer,
  type SevCertificate,
  sevCertificate,
  signedBytes,
  withoutSignatures,
} from '@vouchsafe/sev';
import { validateCertificate } from '../identity/certificate-validation.js';
import { endorsePek, makePdh } from '../identity/platform-keys.js';
import { refuse, refuseUnless } from './command-refusal.js';
import { adopt } from './commands/platform-commands.js';
import type { HostSnapshot } from './host-snapshot.js';
import type { Processor } from './processor.js';

/** Taking external ownership: the platform's owner signs the PEK (SEV API 0.24, PEK_CSR and PEK_CERT_IMPORT). */

export async function pekCsr(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(pekCsrBuffer);
  if (command.length < sevCertificate.size) {
    request.answer(pekCsrBuffer, { ...command, length: sevCertificate.size });
    refuse('INVALID_LENGTH');
  }
  request.place(command.address, withoutSignatures(processor.session.identity.pek.certificate));
  request.answer(pekCsrBuffer, { ...command, length: sevCertificate.size });
}

export async function pekCertImport(processor: Processor, request: HostSnapshot): Promise<void> {
  const command = request.command(pekCertImportBuffer);
  refuseUnless(command.pekLength === sevCertificate.size, 'INVALID_LENGTH');
  refuseUnless(command.ocaLength === sevCertificate.size, 'INVALID_LENGTH');
  const { identity } = processor.session;
  refuseUnless(!identity.externallyOwned, 'ALREADY_OWNED');
  const ocaBytes = request.take(command.ocaAddress, command.ocaLength);
  const pekBytes = request.take(command.pekAddress, command.pekLength);

  // Only an OCA may sign itself, so this also says that it is one.
  const oca = await requireSigned(ocaBytes, ocaBytes);
  const pek = await requireSigned(pekBytes, ocaBytes);
  const own = { raw: identity.pek.certificate };
  refuseUnless(equalBytes(signedBytes(pek), signedBytes(own)), 'INVALID_CERTIFICATE');
  const hasFreeSlot = pek.signatures.some((slot) => slot.kind === 'empty');
  refuseUnless(hasFreeSlot, 'INVALID_CERTIFICATE');

  await adopt(processor, {
    externallyOwned: true,
    oca: { certificate: oca.raw },
    pek: { key: identity.pek.key, certificate: await endorsePek(processor, pek.raw) },
    pdh: await makePdh(processor, identity.pek.key),
  });
}

async function requireSigned(certificate: Uint8Array, signer: Uint8Array): Promise<SevCertificate> {
  const verdict = await validateCertificate(certificate, signer);
  return typeof verdict === 'string' ? refuse(verdict) : verdict;
}
