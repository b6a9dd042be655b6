package didit

// texts are the words of the page in one language.
type texts struct {
	Title, Simulated, Nobody        string
	Heading, Lead                   string
	DoneHeading, DoneLead           string
	ReviewLead, ExpiredLead         string
	MissingHeading, MissingLead     string
	RefusedHeading, RefusedLead     string
	Person, Number, For, Status     string
	Reason, Languages               string
	Approve, DeclineLegend, Decline string
	Review, Abandon, Return         string
	statuses, risks                 map[string]string
}

// pageLanguages are the languages of the page; the first one is for everybody else.
var pageLanguages = []struct {
	code, dir, name string
	texts           texts
}{
	{"en", "ltr", "English", texts{
		Title: "Identity verification (simulated)", Simulated: "Simulated.",
		Nobody:  "This page stands in for Didit. No document is read and nobody is verified.",
		Heading: "How does this verification end?", Lead: "Choose an outcome. The service hears of it at once.",
		DoneHeading: "This verification is finished", DoneLead: "There is nothing left to do here. You can go back to the app.",
		ReviewLead:  "A reviewer has to look at it. You can go back to the app.",
		ExpiredLead: "This link is no longer valid. Start a new verification in the app.", MissingHeading: "No such verification",
		MissingLead: "The link is wrong, or the verification was deleted.", RefusedHeading: "That did not work",
		RefusedLead: "The request was not understood. Go back and try again.",
		Person:      "Person", Number: "Session", For: "On behalf of", Status: "Status", Reason: "Reason", Languages: "Language",
		Approve: "Approve", DeclineLegend: "Decline with a reason", Decline: "Decline", Review: "Send to review",
		Abandon: "Abandon", Return: "Back to the app",
		statuses: map[string]string{},
		risks:    map[string]string{},
	}},
	{"zh", "ltr", "中文", texts{
		Title: "身份验证（模拟）", Simulated: "模拟页面。", Nobody: "此页面代替 Didit，不读取任何证件，也不验证任何人。",
		Heading: "这次验证的结果是？", Lead: "请选择一个结果，系统会立即收到通知。",
		DoneHeading: "验证已结束", DoneLead: "这里已无须操作，您可以返回应用。", ReviewLead: "需要人工审核，您可以返回应用。",
		ExpiredLead: "此链接已失效，请在应用中重新开始验证。", MissingHeading: "找不到该验证", MissingLead: "链接有误，或该验证已被删除。",
		RefusedHeading: "操作未成功", RefusedLead: "无法识别该请求，请返回后重试。",
		Person: "姓名", Number: "会话编号", For: "委托方", Status: "状态", Reason: "原因", Languages: "语言",
		Approve: "通过", DeclineLegend: "拒绝并选择原因", Decline: "拒绝", Review: "转人工审核", Abandon: "放弃验证", Return: "返回应用",
		statuses: map[string]string{
			notStarted: "未开始", inProgress: "进行中", awaiting: "等待用户", inReview: "审核中", approved: "已通过", declined: "已拒绝",
			resubmitted: "需重新提交", abandoned: "已放弃", expired: "已过期", kycExpired: "认证已过期",
		},
		risks: map[string]string{
			"DOCUMENT_EXPIRED": "证件已过期", "IMAGE_TOO_BLURRY": "证件照片模糊", "IMAGE_TOO_DARK": "证件照片过暗",
			"DOCUMENT_NOT_SUPPORTED_FOR_APPLICATION": "不支持该证件类型", "SCREEN_CAPTURE_DETECTED": "翻拍屏幕",
			"PRINTED_COPY_DETECTED": "证件为复印件", "MINIMUM_AGE_NOT_MET": "未达到最低年龄",
			"FULL_NAME_MISMATCH_WITH_PROVIDED": "姓名与所填不符", "POSSIBLE_DUPLICATED_USER": "疑似重复用户",
			"LOW_FACE_MATCH_SIMILARITY": "人脸与证件不符", "LOW_LIVENESS_SCORE": "活体检测分数过低",
			"LIVENESS_FACE_ATTACK": "活体检测受到攻击", "DUPLICATED_FACE": "人脸重复", "POSSIBLE_MATCH_FOUND": "可能命中反洗钱名单",
			"POSSIBLE_DUPLICATED_FACE": "疑似人脸重复",
		},
	}},
	{"ar", "rtl", "العربية", texts{
		Title: "التحقق من الهوية (محاكاة)", Simulated: "محاكاة.",
		Nobody:  "تحل هذه الصفحة محل Didit. لا تُقرأ أي وثيقة ولا يُتحقق من أي شخص.",
		Heading: "كيف ينتهي هذا التحقق؟", Lead: "اختر نتيجة، وستُبلَّغ الخدمة بها فوراً.",
		DoneHeading: "انتهى هذا التحقق", DoneLead: "لم يبق شيء تفعله هنا. يمكنك العودة إلى التطبيق.",
		ReviewLead: "يحتاج الطلب إلى مراجعة. يمكنك العودة إلى التطبيق.", ExpiredLead: "لم يعد هذا الرابط صالحاً. ابدأ تحققاً جديداً من التطبيق.",
		MissingHeading: "لا يوجد تحقق كهذا", MissingLead: "الرابط غير صحيح أو حُذف التحقق.",
		RefusedHeading: "لم تنجح العملية", RefusedLead: "تعذر فهم الطلب. ارجع وحاول مرة أخرى.",
		Person: "الشخص", Number: "الجلسة", For: "لصالح", Status: "الحالة", Reason: "السبب", Languages: "اللغة",
		Approve: "قبول", DeclineLegend: "رفض مع ذكر السبب", Decline: "رفض", Review: "إحالة إلى المراجعة", Abandon: "ترك التحقق",
		Return: "العودة إلى التطبيق",
		statuses: map[string]string{
			notStarted: "لم يبدأ", inProgress: "قيد التنفيذ", awaiting: "بانتظار المستخدم", inReview: "قيد المراجعة", approved: "مقبول",
			declined: "مرفوض", resubmitted: "مطلوب إعادة التقديم", abandoned: "متروك", expired: "منتهي الصلاحية", kycExpired: "انتهت صلاحية التحقق",
		},
		risks: map[string]string{
			"DOCUMENT_EXPIRED": "الوثيقة منتهية الصلاحية", "IMAGE_TOO_BLURRY": "صورة الوثيقة غير واضحة", "IMAGE_TOO_DARK": "صورة الوثيقة مظلمة",
			"DOCUMENT_NOT_SUPPORTED_FOR_APPLICATION": "نوع الوثيقة غير مدعوم", "SCREEN_CAPTURE_DETECTED": "وثيقة معروضة على شاشة",
			"PRINTED_COPY_DETECTED": "نسخة مطبوعة من الوثيقة", "MINIMUM_AGE_NOT_MET": "العمر أقل من الحد الأدنى",
			"FULL_NAME_MISMATCH_WITH_PROVIDED": "الاسم يختلف عن المُدخل", "POSSIBLE_DUPLICATED_USER": "مستخدم مكرر محتمل",
			"LOW_FACE_MATCH_SIMILARITY": "الوجه لا يطابق الوثيقة", "LOW_LIVENESS_SCORE": "درجة الحيوية منخفضة",
			"LIVENESS_FACE_ATTACK": "محاولة خداع لفحص الحيوية", "DUPLICATED_FACE": "وجه مكرر", "POSSIBLE_MATCH_FOUND": "تطابق محتمل في قوائم مكافحة غسل الأموال",
			"POSSIBLE_DUPLICATED_FACE": "وجه مكرر محتمل",
		},
	}},
}

// status is a status word in the language of the page.
func (t texts) status(word string) string {
	if text, ok := t.statuses[word]; ok {
		return text
	}
	return word
}

// risk is a risk in the language of the page, or in English.
func (t texts) risk(code string) string {
	if text, ok := t.risks[code]; ok {
		return text
	}
	if r, ok := lookRisk(code); ok {
		return r.short
	}
	return code
}
