package main

import (
	"log/slog"
	"os"
)

// auditFile is the file of the audit log. What cannot be written is told to the
// log of the server.
type auditFile struct {
	*os.File
	log *slog.Logger
}

// openAudit opens a file to append to, made with mode 0600 if it is absent.
func openAudit(path string, log *slog.Logger) (*auditFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &auditFile{f, log}, nil
}

func (f *auditFile) Write(line []byte) (int, error) {
	n, err := f.File.Write(line)
	if err != nil {
		f.log.Error("audit log not written", "error", err, "line", string(line))
	}
	return n, err
}
