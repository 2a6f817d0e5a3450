package main

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	progressAfter = time.Second            // work that ends before is not worth a line
	progressEvery = 100 * time.Millisecond // at most
)

// progress shows how far work is, in one line on a terminal, which it removes at
// the end.
type progress struct {
	ui   *ui
	what string

	mu    sync.Mutex
	text  func(elapsed time.Duration) string // nil before the first and after the end
	over  chan struct{}                      // is closed at the end
	start time.Time
	drawn time.Time
	width int // of the line on the screen, in bytes
}

// progress begins work. Nothing is shown until it has taken a second.
func (u *ui) progress(what string) *progress {
	return &progress{ui: u, what: what, start: u.now()}
}

// share tells how much of the work is done. It may be called by several
// goroutines.
func (p *progress) share(done, total int64) {
	if total > 0 {
		p.status(func(elapsed time.Duration) string {
			text := fmt.Sprintf("%d %%", 100*done/total)
			if left := time.Duration(float64(elapsed) * float64(total-done) / float64(max(done, 1))).Round(time.Second); done > 0 && left > 0 {
				text += fmt.Sprintf(", %v left", left)
			}
			return text
		})
	}
}

// status shows a text, and again every second, so that one sees it go on.
func (p *progress) status(text func(elapsed time.Duration) string) {
	if !p.ui.terminal {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
	p.draw()
	if p.over == nil {
		p.over = make(chan struct{})
		go p.tick(p.over)
	}
}

// tick draws the line every second until the end.
func (p *progress) tick(over <-chan struct{}) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		case <-over:
			return
		}
	}
}

// draw writes the line unless it is too early, or too late. The caller holds mu.
func (p *progress) draw() {
	now := p.ui.now()
	if p.text == nil || now.Sub(p.start) < progressAfter || now.Sub(p.drawn) < progressEvery {
		return
	}
	p.drawn = now
	line := p.what + ": " + p.text(now.Sub(p.start))
	fmt.Fprintf(p.ui.err, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-len(line))))
	p.width = len(line)
}

// end removes the line.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text != nil {
		p.text = nil
		close(p.over)
	}
	if p.width > 0 {
		fmt.Fprintf(p.ui.err, "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}
