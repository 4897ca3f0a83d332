import { InvalidArgumentError } from '@vouchsafe/sev';

/** An image as a policy knows it. */
export interface ImageReference {
  /** `docker` for registries; `oci`, `dir` and others for what lies in files. */
  readonly transport: string;
  /** Of a registry: host and repository, `docker.io/library/busybox`. Otherwise the path. */
  readonly name: string;
  /** Of a registry: `latest` where neither tag nor digest is given. */
  readonly tag?: string;
  readonly digest?: string;
}

const component = '[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*';
const repositoryPattern = new RegExp(`^${component}(?:/${component})*$`);
const hostPattern =
  /^(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:)|\[[0-9a-fA-F:]+\])(?::\d{1,5})?$/;

/**
 * Reads an image's name as container tools write it: `busybox`, `registry.example/team/app:1.2`, `…@sha256:…`,
 * `docker://…`, `oci:/path:tag`.
 * @throws InvalidArgumentError
 */
export function parseImageReference(text: string): ImageReference {
  const [, transport, path] =
    /^(oci|dir|docker-archive|oci-archive|containers-storage):(.+)$/s.exec(text) ?? [];
  if (transport !== undefined && path !== undefined) return { transport, name: path };
  return dockerReference(text.replace(/^docker:\/\//, ''));
}

function dockerReference(text: string): ImageReference {
  const wrong = () =>
    new InvalidArgumentError(
      'image',
      `expected a name such as registry.example/app:1.2, found ${JSON.stringify(text.slice(0, 200))}`,
    );
  const [, tagged = '', digest] = /^(.*?)(?:@(sha256:[0-9a-f]{64}))?$/s.exec(text) ?? [];
  const [, given = '', tag] = /^(.*?)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?$/s.exec(tagged) ?? [];
  const slash = given.indexOf('/');
  const first = slash === -1 ? '' : given.slice(0, slash);
  const isHost = hostPattern.test(first) || /:\d+$/.test(first);
  const host = isHost ? first.toLowerCase() : 'docker.io';
  const rest = isHost ? given.slice(slash + 1) : given;
  const repository = host === 'docker.io' && !rest.includes('/') ? `library/${rest}` : rest;
  if (!repositoryPattern.test(repository) || repository.length > 255) throw wrong();
  const version =
    digest === undefined ? { tag: tag ?? 'latest' } : { digest, ...(tag === undefined ? {} : { tag }) };
  return { transport: 'docker', name: `${host}/${repository}`, ...version };
}

/** The reference as a signature states it: with its tag, or its digest. */
export function referenceText({ name, tag, digest }: ImageReference): string {
  return digest === undefined ? `${name}:${tag}` : `${name}@${digest}`;
}

/** The scopes of a policy that can hold an image, the narrowest first; the transport's own default is not among them. */
export function scopesOf(reference: ImageReference): string[] {
  const { transport, name } = reference;
  const parts = name.split('/');
  const parents = parts
    .map((_, i) => parts.slice(0, parts.length - i).join('/'))
    .filter((each) => each !== '');
  if (transport !== 'docker') return parents;
  const labels = parts[0]!.split('.');
  const wildcards = labels.slice(1).map((_, i) => `*.${labels.slice(i + 1).join('.')}`);
  return [referenceText(reference), ...parents, ...wildcards];
}
