/** A signed document as it is stored. What stands beside it is from the document, for the database to sort by. */
export interface StoredReference {
  readonly issuer: string;
  readonly name: string;
  readonly version: number;
  /** ISO 8601. */
  readonly notBefore: string;
  /** ISO 8601. */
  readonly notAfter: string;
  /** The compact JWS. */
  readonly document: string;
}

/** Where signed documents are kept. Nothing is ever removed: what was replaced says which versions may not return. */
export interface ReferenceValueRepository {
  /** Every version of every document, in any order. */
  list(): Promise<readonly StoredReference[]>;
  /** The highest stored version of a document; 0 when there is none. */
  highestVersion(issuer: string, name: string): Promise<number>;
  /**
   * Adds a version that is higher than every stored one of its issuer and name; false when it is not. Of two callers at
   * one time, on two replicas too, at most one adds the same version.
   */
  add(reference: StoredReference): Promise<boolean>;
}
