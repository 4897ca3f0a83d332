import { checkTable } from '../appraisal/checks.js';

export const howToGetChain =
  'get the chain of this product line and this kind of key with `vouchsafe kds fetch` and give it with --chain FILE';
const freshVek =
  'get the certificate for this chip and its reported TCB with `vouchsafe kds fetch`, or from the host';
const otherDate = 'compare the date with --at; a certificate that has ended must be fetched anew';
export const howToGetList =
  'get the current list with `vouchsafe kds fetch` and give it with --crl FILE, or name a service with --kds';

/**
 * The checks of {@link verifyEndorsement}, from the root to the key that signs reports. `ask` stands for the ASK of a
 * VCEK and for the ASVK of a VLEK.
 */
export const endorsementChecks = checkTable({
  'endorsement.ark.root': {
    title: 'ARK is a trusted root',
    protects: 'A host could make a root of its own, and everything below it would verify.',
    hint: 'do not trust this report, unless you know this root and name it with --root FILE',
    kind: 'authenticity',
  },
  'endorsement.ark.name': {
    title: 'ARK named as the root demands',
    protects: 'A root of another product line could vouch for this chip.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.ark.key': {
    title: 'ARK key as the root demands',
    protects: 'A root with a weak key could be forged.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.ark.extensions': {
    title: 'ARK may sign authorities and lists',
    protects: 'A key that was certified for something else could pose as the root.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.ark.validity': {
    title: 'ARK valid at the date',
    protects: 'A root that AMD has retired would still be believed.',
    hint: otherDate,
    kind: 'authenticity',
  },
  'endorsement.ark.self-signature': {
    title: 'ARK signed by itself',
    protects: 'A copy of the root that was damaged or cut on its way would pass.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.ask.name': {
    title: 'ASK or ASVK named as the root demands',
    protects: 'The signing key of another product line, or of another kind of key, could endorse this one.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.ask.serial': {
    title: 'ASK or ASVK has a serial number',
    protects: 'A signing key without one could not be named by a revocation list.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.ask.key': {
    title: 'ASK or ASVK key as the root demands',
    protects: 'A signing key with a weak size or exponent could be forged.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.ask.extensions': {
    title: 'ASK or ASVK may sign keys, and nothing below them',
    protects: 'A key that was certified for something else could endorse software as a chip.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.ask.validity': {
    title: 'ASK or ASVK valid at the date',
    protects: 'A signing key that AMD has retired would still be believed.',
    hint: otherDate,
    kind: 'authenticity',
  },
  'endorsement.ask.ark-signature': {
    title: 'ASK or ASVK signed by ARK',
    protects: 'A host could make a signing key of its own and endorse software as a chip.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.vek.name': {
    title: 'VCEK or VLEK named as its kind demands',
    protects: 'A certificate that AMD issued for another purpose could stand in for a chip.',
    hint: freshVek,
    kind: 'authenticity',
  },
  'endorsement.vek.serial': {
    title: 'VCEK or VLEK has the serial number of its kind',
    protects: 'A certificate that AMD issued for another purpose could stand in for a chip.',
    hint: freshVek,
    kind: 'authenticity',
  },
  'endorsement.vek.key': {
    title: 'VCEK or VLEK is a key on P-384',
    protects: 'A key that cannot sign reports, or a point off the curve, could be believed.',
    hint: freshVek,
    kind: 'authenticity',
  },
  'endorsement.vek.extensions': {
    title: 'VCEK or VLEK says chip, versions and product, each once',
    protects: 'Two readers could see different chips or versions in one certificate, or none at all.',
    hint: freshVek,
    kind: 'authenticity',
  },
  'endorsement.vek.product': {
    title: 'VCEK or VLEK of the root’s product line',
    protects: 'A chip of a product line that is trusted less could pass as one of this.',
    hint: howToGetChain,
    kind: 'authenticity',
  },
  'endorsement.vek.validity': {
    title: 'VCEK or VLEK valid at the date',
    protects:
      'A key whose time is over, such as a VLEK that an operator no longer holds, would still be believed.',
    hint: otherDate,
    kind: 'authenticity',
  },
  'endorsement.vek.ask-signature': {
    title: 'VCEK or VLEK signed by ASK or ASVK',
    protects: 'A host could make a key of its own: no AMD chip would be behind the report.',
    hint: freshVek,
    kind: 'authenticity',
  },
  'endorsement.revocation-list': {
    title: 'A current revocation list by the ARK',
    protects: 'A host could withhold the list, or show an old one, and hide that a signing key was revoked.',
    hint: howToGetList,
    kind: 'authenticity',
  },
  'endorsement.revocation': {
    title: 'Neither ARK nor ASK or ASVK revoked',
    protects: 'A signing key that was stolen from AMD, and revoked, could endorse software as a chip.',
    hint: 'do not trust this report: wait for certificates under another signing key',
    kind: 'authenticity',
  },
});

export type EndorsementCheck = keyof typeof endorsementChecks;
