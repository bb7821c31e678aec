package service

// End closes the program's standard input, which asks it to come to its end by itself: Read what it has to say then.
func (p *Program) End() { p.stdin.Close() }
