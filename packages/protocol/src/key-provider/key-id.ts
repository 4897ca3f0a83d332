import { MalformedError } from '@vouchsafe/sev';
import { parseResourcePath, type ResourcePath, resourcePathText } from '../rcar/resource-path.js';

/**
 * Reads the id by which an encrypted layer names the key that its own key is wrapped with: `kbs:///repository/type/tag`.
 * A host behind `kbs://` is passed over, because a guest asks the one broker that it was told, not the one that an image
 * names. The form without a scheme is what Confidential Containers' key provider writes for keys that it made itself.
 * @throws MalformedError for another form, and for a broker's plug-in (`kbs+…`)
 */
export function parseKeyId(text: string): ResourcePath {
  const [, path] = /^(?:kbs:\/\/[A-Za-z0-9.:[\]-]{0,255})?\/([^/].*)$/s.exec(text) ?? [];
  if (path !== undefined) return parseResourcePath(path);
  throw new MalformedError(
    {
      structure: 'key id',
      field: 'scheme',
      offset: 0,
      expected: 'kbs:///repository/type/tag',
      found: 'something else',
    },
    { hint: 'encrypt the image again with keyid=kbs:///repository/type/tag' },
  );
}

/** `kbs:///repository/type/tag` */
export function keyIdText(path: ResourcePath): string {
  return `kbs:///${resourcePathText(path)}`;
}
