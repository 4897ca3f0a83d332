import type { Marker } from './traces.js';

const mark = 'which nobody else may read';

/** The secret of a test: text by which it is known again wherever it should not be. */
export const secretText = (name: string): string => `${name}, ${mark}`;

/** What all of them have in common. */
export const secretMarker: Marker = { name: 'a secret', bytes: new TextEncoder().encode(mark) };
