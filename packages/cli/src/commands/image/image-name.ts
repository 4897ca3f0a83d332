import { OciLayout } from '@vouchsafe/guest';
import { InvalidArgumentError } from '@vouchsafe/sev';

/** How an image in a folder is written: as skopeo does, `oci:` left out or not. */
export const imageNameHelp = '[oci:]DIR[:NAME], a folder in the OCI image layout and the image in it';

export interface ImageName {
  readonly folder: string;
  readonly name?: string;
}

/** @throws InvalidArgumentError */
export function readImageName(given: string, argument: string): ImageName {
  const [folder = '', ...rest] = given.replace(/^oci:/, '').split(':');
  const name = rest.join(':');
  if (folder === '') throw new InvalidArgumentError(argument, `expected ${imageNameHelp}`);
  return { folder, ...(name === '' ? {} : { name }) };
}

/** What an encrypting or decrypting command is given: an image, and where another is to stand. */
export async function openImages(from: string, to: string) {
  const [source, target] = [readImageName(from, 'from'), readImageName(to, 'to')];
  const layout = await OciLayout.open(source.folder);
  const { name } = await layout.image(source.name);
  return {
    from: layout,
    image: source.name,
    to: await OciLayout.create(target.folder),
    as: target.name ?? name ?? 'latest',
    folder: target.folder,
  };
}
