/**
 * What administrators write and a broker reads. Whoever only talks to a broker needs no broker: loading one, with its
 * databases and policy engines, takes longer than most commands do.
 */
export * from './administration/roles.js';
export { configurationFile } from './configuration/file-name.js';
export * from './policy/ready-made.js';
export * from './pre-launch/expected-launches.js';
export { recordChecks } from './record/checks.js';
export * from './reference-values/document.js';
export { generateIssuerKey, issuerOf } from './reference-values/issuer-key.js';
export {
  type ReferenceIssuer,
  signReferenceDocument,
  verifyReferenceDocument,
} from './reference-values/signed-document.js';
