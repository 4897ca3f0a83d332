import { MalformedError } from '@vouchsafe/sev';

/** Where a secret is kept: three names. */
export interface ResourcePath {
  readonly repository: string;
  readonly type: string;
  readonly tag: string;
}

/** Letters, digits, `_` and `-`; after the first character also `.`. So none is `..`, empty, or escaped. */
const segmentPattern = /^[A-Za-z0-9_-][A-Za-z0-9_.-]*$/;
const greatestSegment = 128;
const scheme = 'kbs:///';

/**
 * Reads `repository/type/tag`.
 * @throws MalformedError for another number of segments, and for a segment with characters that none has, among them
 * percent signs: escapes are not decoded
 */
export function parseResourcePath(text: string): ResourcePath {
  return pathOf('resource path', text);
}

/**
 * Reads the address of a resource as guests write it: `kbs:///repository/type/tag`. Which broker is asked stands
 * elsewhere, so the address names no host.
 * @throws MalformedError
 */
export function parseResourceAddress(text: string): ResourcePath {
  if (!text.startsWith(scheme)) refuse('resource address', 'scheme', `an address that begins with ${scheme}`);
  return pathOf('resource address', text.slice(scheme.length));
}

/** `repository/type/tag` */
export function resourcePathText({ repository, type, tag }: ResourcePath): string {
  return `${repository}/${type}/${tag}`;
}

function pathOf(structure: string, text: string): ResourcePath {
  const segments = text.split('/', 4);
  const [repository, type, tag] = segments;
  if (segments.length !== 3 || repository === undefined || type === undefined || tag === undefined)
    return refuse(structure, 'path', 'repository/type/tag', `${segments.length} segments`);
  const path = { repository, type, tag };
  for (const [field, segment] of Object.entries(path)) {
    if (segment.length > greatestSegment)
      refuse(structure, field, `at most ${greatestSegment} characters`, `${segment.length}`);
    if (!segmentPattern.test(segment))
      refuse(structure, field, 'letters, digits, _, - and, not first, dots', 'another character');
  }
  return path;
}

function refuse(structure: string, field: string, expected: string, found = 'something else'): never {
  throw new MalformedError({ structure, field, offset: 0, expected, found });
}
