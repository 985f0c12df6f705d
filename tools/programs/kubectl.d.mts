// Types of kubectl.mjs, for the tests that use it.
export declare const KUBECTL_MINOR_MIN: number;
export declare function kubectlCache(): string;
export declare function findKubectl(): string | undefined;
export declare function ensureKubectl(say?: (text: string) => void): string;
