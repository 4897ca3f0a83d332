import { type CheckDefinition, checkTable } from '../appraisal/checks.js';

const fromGuest = 'ask the guest for a new report';
const fromHost = 'do not trust this machine until its host has been set up as you demand';
const staleVek =
  'the firmware was updated between report and certificate: fetch the VEK for the TCB that the report names';
const otherVek = 'fetch the VEK of the chip and TCB that this report names: `vouchsafe kds fetch`';
const otherGuest = 'this is not the guest that you wanted: do not give it anything';
const otherPolicy = 'launch the guest anew, with the policy that you demand';
const updateFirmware = 'the host must update its firmware, then the guest must be asked again';

const evidence = (
  title: string,
  protects: string,
  hint: string,
): CheckDefinition & { kind: 'authenticity' } => ({
  title,
  protects,
  hint,
  kind: 'authenticity',
});
const expectation = (
  title: string,
  protects: string,
  hint: string,
): CheckDefinition & { kind: 'expectation' } => ({ title, protects, hint, kind: 'expectation' });

/** What makes a report genuine: every one of these must pass before a root is named. */
export const reportEvidenceChecks = checkTable({
  'report.format': evidence(
    'report is well formed',
    'Bytes that mean one thing to the firmware could be read as another here.',
    'give the 1184 bytes of an attestation report, unchanged',
  ),
  'vek.signing-key': evidence(
    'certificate is of the kind of key that signed',
    'A key lent to a cloud operator could stand in for the chip’s own key, or the reverse.',
    otherVek,
  ),
  'vek.product-line': evidence(
    'certificate is of the processor’s product line',
    'The key of another product line could vouch for this processor, and TCB versions would be misread.',
    otherVek,
  ),
  'vek.tcb': evidence(
    'certificate is for the TCB that the report names',
    'Firmware with known holes could sign with a key that is certified for newer firmware.',
    staleVek,
  ),
  'vek.hardware-id': evidence(
    'certificate is of the chip that the report names',
    'The certificate of another chip could be presented.',
    otherVek,
  ),
  'report.signature': evidence(
    'report signed by the VEK',
    'Anybody could write a report.',
    'the report was changed on its way, or it was signed by another key: ask for it again, with its certificate',
  ),
});

/** What a careful owner would never want, refused unless it is allowed by name. */
export const reportSafetyChecks = checkTable({
  'guest.requester': evidence(
    'report was asked for by the guest',
    'A host can ask for reports about a guest; what the guest would say in them is then missing.',
    'ask the guest, not its host, for a report',
  ),
  'guest.debug': evidence(
    'guest cannot be debugged',
    'The host could read and change all of the guest’s memory.',
    'launch the guest without DEBUG in its policy; for tests only: --allow-debug',
  ),
  'guest.migration-agent': evidence(
    'no migration agent is bound to the guest',
    'The agent could hand the guest’s memory to another machine.',
    'launch the guest without a migration agent, or check the agent too and allow it: --allow-migration-agent',
  ),
  'firmware.order': evidence(
    'nothing is newer than the firmware that runs',
    'A report could claim versions that its firmware does not have.',
    fromGuest,
  ),
  'firmware.committed': evidence(
    'firmware is committed',
    'The host could roll the firmware back to an older one at any moment.',
    'the host must commit its firmware (SNP_COMMIT); some clouds never do: --allow-provisional',
  ),
});

/** What the caller may expect of a report. */
export const reportExpectationChecks = checkTable({
  'report.data': expectation(
    'report data',
    'An old report could be replayed, or one that another guest asked for.',
    'ask the guest for a report over your fresh nonce',
  ),
  'report.measurement': expectation(
    'launch measurement',
    'The host could start other software than yours.',
    'find out what differs: `vouchsafe digest explain`',
  ),
  'report.host-data': expectation(
    'host data',
    'The right software could run with settings of the host’s choice.',
    otherGuest,
  ),
  'report.id-block': expectation(
    'guest has an ID block',
    'A guest that nobody signed for could pose as one of yours.',
    'launch the guest with an ID block: `vouchsafe id-block create`',
  ),
  'report.id-key': expectation('ID key', 'Somebody else could have signed for this guest.', otherGuest),
  'report.author-key': expectation(
    'author key',
    'Somebody else could have signed the key that signed for this guest.',
    otherGuest,
  ),
  'report.author-key-enabled': expectation(
    'ID key was signed by an author key',
    'An ID key that no author vouches for could be used.',
    'launch the guest with an author key in its ID authentication',
  ),
  'report.family-id': expectation('family id', 'Another family of guests could answer.', otherGuest),
  'report.image-id': expectation('image id', 'Another image of your family could answer.', otherGuest),
  'report.guest-svn': expectation(
    'guest security version',
    'An old image with known holes could be started.',
    'launch the newer image, whose ID block has the higher GUEST_SVN',
  ),
  'report.vmpl': expectation(
    'privilege level',
    'Less privileged software in the guest could speak for the more privileged.',
    'ask for the report from the privilege level that you trust',
  ),
  'report.signing-key': expectation(
    'kind of signing key',
    'A cloud operator’s key could sign where you want the chip’s own.',
    'ask the host to use the other key',
  ),
  'report.version': expectation(
    'version of the report',
    'Older reports leave out what you want to know, such as the processor.',
    updateFirmware,
  ),
  'report.report-id': expectation(
    'report id',
    'Another instance of the same guest could answer.',
    otherGuest,
  ),
  'report.report-id-ma': expectation(
    'report id of the migration agent',
    'Another migration agent could be bound to the guest.',
    otherGuest,
  ),
  'report.chip-id': expectation(
    'report names its chip',
    'You could not tell machines apart, nor shun one.',
    'ask the host to unmask the chip id (SNP_CONFIG, MASK_CHIP_ID)',
  ),
  'report.chip-allowed': expectation(
    'chip is one of those allowed',
    'A machine that you do not know could run the guest.',
    'run the guest on one of your machines, with its chip id unmasked',
  ),
  'report.chip-denied': expectation(
    'chip is none of those denied',
    'A machine that is known to be broken into could run the guest.',
    'run the guest on another machine, with its chip id unmasked',
  ),
  'vek.allowed-line': expectation(
    'product line is one of those allowed',
    'An older generation could run the guest, without the protections of newer ones.',
    'run the guest on a machine of another product line',
  ),
  'vek.csp-id': expectation(
    'cloud operator of the VLEK',
    'Another operator’s machine could run the guest.',
    'run the guest with the operator that you chose',
  ),
  'policy.abi': expectation(
    'least ABI version in the guest’s policy',
    'Older firmware, which knows fewer protections, could launch the guest.',
    otherPolicy,
  ),
  'policy.smt': expectation(
    'policy: SMT',
    'A thread of the host could watch the guest from the same core.',
    otherPolicy,
  ),
  'policy.migration-agent': expectation(
    'policy: MIGRATE_MA',
    'A migration agent could be bound to the guest.',
    otherPolicy,
  ),
  'policy.debug': expectation(
    'policy: DEBUG',
    'The host could read and change all of the guest’s memory.',
    otherPolicy,
  ),
  'policy.single-socket': expectation(
    'policy: SINGLE_SOCKET',
    'The guest’s memory could cross the link between two sockets.',
    otherPolicy,
  ),
  'policy.cxl': expectation(
    'policy: CXL_ALLOW',
    'A CXL device could hold or see the guest’s memory.',
    otherPolicy,
  ),
  'policy.aes-256-xts': expectation(
    'policy: MEM_AES_256_XTS',
    'Memory could be encrypted with a shorter key.',
    otherPolicy,
  ),
  'policy.rapl': expectation(
    'policy: RAPL_DIS',
    'The host could learn secrets from power measurements.',
    otherPolicy,
  ),
  'policy.ciphertext-hiding': expectation(
    'policy: CIPHERTEXT_HIDING_DRAM',
    'The host could watch ciphertext change, and learn from it.',
    otherPolicy,
  ),
  'policy.page-swap': expectation(
    'policy: PAGE_SWAP_DISABLE',
    'The host could move and swap out the guest’s pages.',
    otherPolicy,
  ),
  'tcb.reported': expectation(
    'floor for the reported TCB',
    'Firmware with known holes could hold the signing key.',
    updateFirmware,
  ),
  'tcb.committed': expectation(
    'floor for the committed TCB',
    'The host could roll back to firmware with known holes.',
    updateFirmware,
  ),
  'tcb.launch': expectation(
    'floor for the TCB at launch',
    'The guest could have been launched by firmware with known holes.',
    'launch the guest anew, now that the firmware is newer',
  ),
  'tcb.current': expectation(
    'floor for the current TCB',
    'Firmware with known holes could run.',
    updateFirmware,
  ),
  'firmware.build': expectation(
    'least firmware build',
    'Firmware with known holes could run.',
    updateFirmware,
  ),
  'firmware.version': expectation(
    'least firmware version',
    'Firmware with known holes could run.',
    updateFirmware,
  ),
  'mitigations.launch': expectation(
    'mitigations at launch',
    'The guest could have been launched while a known hole was open.',
    'launch the guest anew on firmware that has these mitigations',
  ),
  'mitigations.current': expectation('mitigations now', 'A known hole could be open.', updateFirmware),
  'platform.smt': expectation(
    'platform: SMT_EN',
    'A thread of the host could watch the guest from the same core.',
    fromHost,
  ),
  'platform.tsme': expectation(
    'platform: TSME_EN',
    'Memory outside of guests would be as you did not expect: encrypted, or not.',
    fromHost,
  ),
  'platform.ecc': expectation(
    'platform: ECC_EN',
    'Memory without error correction is easier to change from outside.',
    fromHost,
  ),
  'platform.rapl': expectation(
    'platform: RAPL_DIS',
    'The host could learn secrets from power measurements.',
    fromHost,
  ),
  'platform.ciphertext-hiding': expectation(
    'platform: CIPHERTEXT_HIDING_DRAM_EN',
    'The host could watch ciphertext change, and learn from it.',
    fromHost,
  ),
  'platform.alias-check': expectation(
    'platform: ALIAS_CHECK_COMPLETE',
    'A memory module that lies about its size could give the host a second way to the guest’s memory (BadRAM).',
    updateFirmware,
  ),
  'platform.tio': expectation('platform: TIO_EN', 'Devices could be let into the guest’s memory.', fromHost),
  'platform.unknown-bits': expectation(
    'platform: no bit without a published meaning',
    'The machine could be set up in a way that nobody has judged yet.',
    'genuine chips set such bits: ask for this only where you know your machines',
  ),
});

export type ReportEvidenceCheck = keyof typeof reportEvidenceChecks;
export type ReportSafetyCheck = keyof typeof reportSafetyChecks;
export type ReportExpectationCheck = keyof typeof reportExpectationChecks;
