import { type Appraisal, Appraiser, RefusedError } from '@vouchsafe/sev';
import { referenceChecks } from './checks.js';
import type { ReferenceDocument } from './document.js';
import { referenceName } from './in-force.js';
import type { ReferenceValueRepository, StoredReference } from './repository.js';
import { examine, type ReferenceIssuer, verifyReferenceDocument } from './signed-document.js';

/** The reference values of a broker: signed documents in a repository that is not itself believed. */
export class ReferenceValueStore {
  readonly #repository: ReferenceValueRepository;
  readonly #issuers: readonly ReferenceIssuer[];
  /** Texts whose signature was verified: it never has to be again. */
  #verified = new Map<string, ReferenceDocument>();

  /** @param issuers whose documents count; those of others are passed over */
  constructor(repository: ReferenceValueRepository, issuers: readonly ReferenceIssuer[]) {
    this.#repository = repository;
    this.#issuers = issuers;
  }

  /**
   * Verifies a signed document and keeps it.
   * @param now milliseconds since 1970
   * @throws RefusedError for one that is unsigned, by a stranger, expired or not newer than what is stored
   */
  async accept(
    text: string,
    now: number,
  ): Promise<{ readonly document: ReferenceDocument; readonly appraisal: Appraisal }> {
    const { appraisal, document } = await verifyReferenceDocument(
      text,
      this.#issuers,
      now,
      ({ issuer, name }) => this.#repository.highestVersion(issuer, name),
    );
    if (document === undefined) throw new RefusedError(appraisal);
    if (!(await this.#repository.add(storedForm(document, text)))) {
      // Another replica was quicker with this version or a higher one.
      const again = await verifyReferenceDocument(text, this.#issuers, now, async () => document.version);
      throw new RefusedError(again.appraisal);
    }
    return { document, appraisal };
  }

  /**
   * Every stored document of the trusted issuers, each verified again: the database may have been edited. A document that
   * does not verify is passed over only where a newer version has replaced it.
   * @param now milliseconds since 1970
   * @throws RefusedError naming what is wrong: no decision can be made without it
   */
  async documents(now: number): Promise<readonly ReferenceDocument[]> {
    const rows = await this.#repository.list();
    const trusted = rows.filter(({ issuer }) => this.#issuers.some(({ name }) => name === issuer));
    const read = await Promise.all(trusted.map((row) => this.#read(row)));
    const documents = read.flatMap((each) => ('document' in each ? [each.document] : []));
    this.#verified = new Map(
      read.flatMap((each) => ('document' in each ? [[each.text, each.document] as const] : [])),
    );
    for (const each of read) {
      if ('document' in each || (!each.edited && isReplaced(each.row, documents, now))) continue;
      throw new RefusedError(each.appraisal);
    }
    return documents;
  }

  async #read(row: StoredReference): Promise<Reading> {
    const text = row.document;
    const known = this.#verified.get(text);
    if (known !== undefined && sameNames(row, known)) return { text, document: known };
    const subject = `stored reference values ${referenceName(row)} ${row.version}`;
    const appraiser = new Appraiser(subject, referenceChecks);
    const document = await examine(text, this.#issuers, appraiser);
    if (document !== undefined && sameNames(row, document)) return { text, document };
    if (document !== undefined) {
      appraiser.notAsked('reference.validity', 'each decision asks what is in force');
      appraiser.report('reference.version', false, {
        expected: `${referenceName(document)} ${document.version}, as it is signed`,
        found: `${referenceName(row)} ${row.version}`,
        hint: 'the database was edited by hand: restore it, or publish a new version',
      });
    }
    appraiser.abandon('not examined');
    return { row, edited: document !== undefined, appraisal: appraiser.finish() };
  }
}

type Reading =
  | { readonly text: string; readonly document: ReferenceDocument }
  /** `edited`: signed, and stored as what it is not. */
  | { readonly row: StoredReference; readonly edited: boolean; readonly appraisal: Appraisal };

function storedForm(document: ReferenceDocument, text: string): StoredReference {
  const { issuer, name, version, notBefore, notAfter } = document;
  return { issuer, name, version, notBefore, notAfter, document: text };
}

type Names = Pick<ReferenceDocument, 'issuer' | 'name' | 'version'>;

const sameNames = (a: Names, b: Names): boolean =>
  referenceName(a) === referenceName(b) && a.version === b.version;

function isReplaced(row: Names, documents: readonly ReferenceDocument[], now: number): boolean {
  return documents.some(
    (each) =>
      referenceName(each) === referenceName(row) &&
      each.version > row.version &&
      Date.parse(each.notBefore) <= now,
  );
}
