import type { ResourcePath } from '@vouchsafe/protocol';

/** Where the API has a secret: a path that was read has nothing in it to escape. */
export const secretUrl = ({ repository, type, tag }: ResourcePath) => `/secrets/${repository}/${type}/${tag}`;

export interface SecretAnswer {
  readonly path: string;
  readonly state: string;
  readonly policy?: string;
  readonly createdAt: string;
  readonly versions: readonly {
    readonly version: number;
    readonly state: string;
    readonly notBefore?: string;
    readonly notAfter?: string;
    readonly releaseLimit?: number;
    readonly released: number;
    readonly createdAt: string;
  }[];
}
