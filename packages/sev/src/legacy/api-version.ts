/** A version of the firmware's API, as PLATFORM_STATUS reports it. */
export interface ApiVersion {
  readonly apiMajor: number;
  readonly apiMinor: number;
}

/** Whether `version` is `minimum` or later. Versions compare as pairs: 1.0 is later than 0.99. */
export function apiAtLeast(version: ApiVersion, minimum: ApiVersion): boolean {
  if (version.apiMajor !== minimum.apiMajor) return version.apiMajor > minimum.apiMajor;
  return version.apiMinor >= minimum.apiMinor;
}

/** `1.55` */
export function apiVersionText({ apiMajor, apiMinor }: ApiVersion): string {
  return `${apiMajor}.${apiMinor}`;
}
