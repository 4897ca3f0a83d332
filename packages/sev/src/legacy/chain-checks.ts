import { checkTable } from '../appraisal/checks.js';

const fromHost = 'ask the host for a fresh export of its platform certificates';
const fromAmd = 'fetch the CA of this generation with `vouchsafe kds fetch` and give it with --ca FILE';
const fromAmdCek =
  'fetch AMD’s signed certificate of this chip’s CEK with `vouchsafe kds fetch` and give it with the chain';

/** The checks of {@link verifyPlatformChain}, from the root to the key that a session is made with. */
export const platformChainChecks = checkTable({
  'chain.ark.root': {
    title: 'ARK is a trusted root',
    protects: 'A host could make a root of its own, and everything below it would verify.',
    hint: 'do not trust this platform, unless you know this root and name it with --root FILE',
    kind: 'authenticity',
  },
  'chain.ark.usage': {
    title: 'ARK is a root key',
    protects: 'A key that AMD made for something else could stand in as the root.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.ark.key': {
    title: 'ARK key as the root demands',
    protects: 'A root with a weak key size or exponent could be forged.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.ark.certifying-id': {
    title: 'ARK names itself as signer',
    protects: 'A key that someone else certifies could pose as a root.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.ark.self-signature': {
    title: 'ARK signed by itself',
    protects: 'A copy of the root that was damaged or cut on its way would pass.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.ask.usage': {
    title: 'ASK is a signing key',
    protects: 'A CA key of another purpose could endorse chips.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.ask.key': {
    title: 'ASK key as the root demands',
    protects: 'A signing key with a weak size or exponent could be forged.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.ask.certifying-id': {
    title: 'ASK names the ARK as signer',
    protects: 'An ASK could be presented under a root that it was not made for.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.ask.generation': {
    title: 'ASK and ARK of one generation',
    protects: 'A key of another processor generation could endorse this chip.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.ask.ark-signature': {
    title: 'ASK signed by ARK',
    protects: 'A host could make an ASK of its own and endorse software as a chip.',
    hint: fromAmd,
    kind: 'authenticity',
  },
  'chain.cek.usage': {
    title: 'CEK is a chip’s endorsement key',
    protects: 'A key of another purpose could stand in for the chip.',
    hint: fromAmdCek,
    kind: 'authenticity',
  },
  'chain.cek.ask-signature': {
    title: 'CEK signed by ASK',
    protects: 'A host could make a CEK of its own: no AMD chip would be behind the platform.',
    hint: fromAmdCek,
    kind: 'authenticity',
  },
  'chain.cek.exported': {
    title: 'CEK is the one that the chip exports',
    protects: 'The endorsement of another, genuine chip could be presented.',
    hint: 'fetch the CEK for the id of this chip: `vouchsafe platform status` shows the id',
    kind: 'expectation',
  },
  'chain.oca.usage': {
    title: 'OCA is an owner’s certificate authority',
    protects: 'A key of another purpose could stand in for the platform’s owner.',
    hint: fromHost,
    kind: 'authenticity',
  },
  'chain.oca.self-signature': {
    title: 'OCA signed by itself',
    protects: 'An owner could be claimed by someone who does not hold the owner’s key.',
    hint: fromHost,
    kind: 'authenticity',
  },
  'chain.oca.pinned': {
    title: 'OCA is the owner that is required',
    protects: 'A genuine platform of another owner could be presented.',
    hint: 'this platform belongs to someone else: choose another host, or pin this owner’s certificate',
    kind: 'expectation',
  },
  'chain.pek.usage': {
    title: 'PEK is a platform’s endorsement key',
    protects: 'A key of another purpose could stand in for the platform.',
    hint: fromHost,
    kind: 'authenticity',
  },
  'chain.pek.oca-signature': {
    title: 'PEK signed by OCA',
    protects: 'A platform could be presented under an owner that never signed it.',
    hint: fromHost,
    kind: 'authenticity',
  },
  'chain.pek.cek-signature': {
    title: 'PEK signed by CEK',
    protects: 'A host could make a PEK in software and read everything that it is sent.',
    hint: fromHost,
    kind: 'authenticity',
  },
  'chain.pek.api': {
    title: 'PEK made by firmware that is new enough',
    protects: 'A platform whose firmware has known holes could be used.',
    hint: 'the host must update its firmware and make its keys anew (`vouchsafe platform reset`)',
    kind: 'expectation',
  },
  'chain.pdh.usage': {
    title: 'PDH is a Diffie-Hellman key',
    protects: 'A key of another purpose could be used to agree on transport keys.',
    hint: fromHost,
    kind: 'authenticity',
  },
  'chain.pdh.key': {
    title: 'PDH is a point on P-384',
    protects: 'A point off the curve would betray bits of the owner’s private key.',
    hint: fromHost,
    kind: 'authenticity',
  },
  'chain.pdh.pek-signature': {
    title: 'PDH signed by PEK',
    protects: 'A host could put its own key in place of the chip’s and open the owner’s session.',
    hint: fromHost,
    kind: 'authenticity',
  },
  'chain.slots': {
    title: 'No signature by a stranger',
    protects: 'Bytes that nobody vouches for could ride along in a spare signature slot.',
    hint: fromHost,
    kind: 'authenticity',
  },
});

export type PlatformChainCheck = keyof typeof platformChainChecks;

/** What {@link parseChainFiles} checks: files that contradict each other are evidence against whoever gave them. */
export const chainFileChecks = checkTable({
  'chain.roles': {
    title: 'One certificate in each role',
    protects: 'Which of two certificates is used would be up to the host, or to the order of files.',
    hint: 'give the certificates of one platform only',
    kind: 'authenticity',
  },
});
