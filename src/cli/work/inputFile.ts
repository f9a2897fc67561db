import { HostError } from "../../host/errors.ts";

const words: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "a part of its path is no folder",
  EISDIR: "it is a folder",
};

/** Why a file that was named cannot be read. Codes: file/EACCES where this user may not, else file/no-input. */
export function unreadable(path: string, error: unknown): HostError {
  const code = (error as NodeJS.ErrnoException).code ?? String(error);
  if (code === "EACCES" || code === "EPERM")
    return new HostError("file/EACCES", `cannot read ${path}: access denied`, {
      remedy: "make it readable for this user, or run as one who may (root, or CAP_DAC_READ_SEARCH)",
      cause: error,
    });
  return new HostError("file/no-input", `cannot read ${path}: ${words[code] ?? code}`, {
    remedy: "check the path",
    cause: error,
  });
}
